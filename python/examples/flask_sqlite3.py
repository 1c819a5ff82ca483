"""A list of Flask over sqlite3: `DATABASE=tricks.sqlite flask --app flask_sqlite3 run`."""

import json
import os
import sqlite3
from collections.abc import Iterator

from flask import Flask

from chunkflow import Fetch, Flow, Source
from chunkflow.wsgi import ListResponse

app = Flask(__name__)
flow = Flow(os.environ.get("CHUNKFLOW_STORE", "memory:"))


def rows(fetch: Fetch) -> Iterator[tuple[tuple[int], str]]:
    after = fetch.after[0] if fetch.after else 0
    database = sqlite3.connect(os.environ["DATABASE"])
    try:
        tricks = database.execute(
            "SELECT id, title FROM trick WHERE id > ? ORDER BY id LIMIT ?", (after, fetch.limit)
        )
        for trick_id, title in tricks:
            yield (trick_id,), json.dumps({"id": trick_id, "title": title})
    finally:
        database.close()


TRICKS = Source("tricks", b"1", rows, order=["id"], columns=["id", "title"])


@app.get("/tricks")
def tricks() -> ListResponse:
    return ListResponse(flow, TRICKS)
