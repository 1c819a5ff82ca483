"""What the clients in Python share.

A client reads requests, one a line: `URL whole|arriving ENCODING`. It asks for the list, lets its library decode it, and answers with a
line of JSON: the rows (null if the body is no whole list), the sum of their ids, the encoding in which they came, and the error that the
library gave its user. Where the list is to be read as it arrives, the line `rows are here` comes first, once the second row does.
"""

import asyncio
import contextlib
import inspect
import json
import sys


def answer(ask):
    """Answers each request by `ask(url, headers, how, arrived)`, which hands over decoded bytes and returns the encoding."""
    for line in sys.stdin:
        url, how, encoding = line.split()
        body, verdict = bytearray(), {"rows": None, "sum": None, "encoding": None, "error": None}

        def arrived(part):
            here = b'"id":2,' in body
            body.extend(part)
            if how == "arriving" and not here and b'"id":2,' in body:
                print("rows are here", flush=True)

        try:
            asked = ask(url, {"Accept-Encoding": encoding}, how, arrived)
            verdict["encoding"] = asyncio.run(asked) if inspect.iscoroutine(asked) else asked
        except Exception as error:
            verdict["error"] = f"{type(error).__name__}: {error}"
        with contextlib.suppress(ValueError):
            rows = json.loads(body)["results"]
            verdict |= {"rows": len(rows), "sum": sum(row["id"] for row in rows)}
        print(json.dumps(verdict), flush=True)
