"""Holds a server's /openapi.json against the specification and against what the server answers.

    check URL             is it valid, and is each list what it says? Prints the schemas of rows.
    check URL client      generates a client from it, and has that read each list. Prints how many rows.
"""

import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate


def fetched(url):
    with urllib.request.urlopen(url, timeout=60) as response:
        return json.load(response)


def problems(body, schema, document):
    whole = {"components": document["components"], **schema}
    found = Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(body)
    return [f"{error.json_path}: {error.message[:200]}" for error in found][:10]



def check(url):
    document = fetched(f"{url}/openapi.json")
    validate(document)
    streams = fetched(f"{url}/openapi.json?openapi=3.2")
    validate(streams)
    said = {"schemas": {}, "problems": {}, "parameters": {}}
    for path, item in document["paths"].items():
        operation = item["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        said["problems"][path] = problems(fetched(url + path), schema, document)
        row = schema["properties"]["results"]["items"]["$ref"].rsplit("/", 1)[1]
        said["schemas"][path] = document["components"]["schemas"][row]
        said["parameters"][path] = [one["name"] for one in operation["parameters"] if "name" in one]
        item_schema = streams["paths"][path]["get"]["responses"]["200"]["content"]["application/x-ndjson"]["itemSchema"]
        with urllib.request.urlopen(f"{url}{path}.ndjson", timeout=60) as lines:
            for line in lines:
                said["problems"][path] += problems(json.loads(line), item_schema, streams)
    try:
        urllib.request.urlopen(f"{url}/no-such-list", timeout=60)
    except urllib.error.HTTPError as error:
        problem = {"$ref": "#/components/schemas/Problem"}
        said["problems"]["404"] = problems(json.load(error), problem, document)
    print(json.dumps(said))


def client(url):
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "config.yaml")
        config.write_text("post_hooks: []\npackage_name_override: generated\nproject_name_override: generated\n")
        generator = pathlib.Path(sys.executable).with_name("openapi-python-client")
        done = subprocess.run(
            [generator, "generate", "--url", f"{url}/openapi.json", "--meta", "none", "--config", config,
             "--output-path", f"{folder}/generated"],
            capture_output=True, text=True, timeout=120)
        if done.returncode or "WARNING" in done.stdout + done.stderr:
            sys.exit(done.stdout + done.stderr)
        sys.path.insert(0, folder)
        generated = importlib.import_module("generated")
        said = {}
        for path, item in fetched(f"{url}/openapi.json")["paths"].items():
            # A generator puts names into the form of its language.
            plain = item["get"]["operationId"].replace("_", "").lower()
            modules = pathlib.Path(folder, "generated/api/default").glob("*.py")
            [module] = [one.stem for one in modules if one.stem.replace("_", "") == plain]
            call = importlib.import_module(f"generated.api.default.{module}")
            with generated.Client(base_url=url) as opened:
                whole = call.sync(client=opened)
                said[path] = {"rows": len(whole.results), "first": whole.results[0].to_dict()}
                said[path]["limited"] = len(call.sync(client=opened, limit=2).results)
        print(json.dumps(said))


if len(sys.argv) > 2:
    client(sys.argv[1])
else:
    check(sys.argv[1])
