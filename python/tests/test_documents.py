"""What the documents show is run as it stands there."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from lists import read_sync

ROOT = Path(__file__).parents[2]


def blocks(document: str) -> list[str]:
    text = (ROOT / document).read_text()
    return re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def requested(application: Any) -> Any:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    started = []
    body = b"".join(application(environ, lambda *start: started.append(start)))
    assert started[0][0] == "200 OK"
    return json.loads(body)["results"]


@pytest.fixture
def tricks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": number, "title": f"trick {number}"} for number in range(1, 501)]
    with sqlite3.connect("tricks.sqlite") as database:
        database.execute("CREATE TABLE trick (id INTEGER PRIMARY KEY, title TEXT)")
        database.executemany("INSERT INTO trick VALUES (:id, :title)", rows)
    database.close()
    return rows


def test_the_page_of_the_package_shows_a_list_that_runs(tricks: list[dict[str, Any]]) -> None:
    names: dict[str, Any] = {}
    [block] = blocks("python/README.md")
    exec(block, names)
    assert requested(names["application"]) == tricks
    names["flow"].close()


def test_docs_python_md_runs_as_it_stands(tricks: list[dict[str, Any]]) -> None:
    names: dict[str, Any] = {}
    first, second, third = blocks("docs/python.md")
    exec(first, names)
    assert requested(names["application"]) == tricks

    exec(second, names)
    flow = names["flow"]
    for language in ("en", "de"):
        found = json.loads(read_sync(flow, names["tricks_of"](7, language)))["results"]
        assert found[99] == {"id": 100, "organisation": 7, "language": language}

    before, change = third.split("titles[2] =")
    exec(before, names)
    assert "hitch" in str(read_sync(flow, names["list_of_knots"]))
    exec("titles[2] =" + change, names)
    after = json.loads(read_sync(flow, names["list_of_knots"]))["results"]
    assert [row["title"] for row in after] == ["knot", "half hitch", "bend"]
    assert read_sync(flow, names["list_of_knots"], f"/?at_least={names['token']}")
    flow.close()
