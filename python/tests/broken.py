"""Applications whose list breaks off."""

import json
from collections.abc import Iterator

from chunkflow import Fetch, Flow, Source
from chunkflow.asgi import ListResponse as AsgiList
from chunkflow.asgi import cut_off
from chunkflow.wsgi import ListResponse as WsgiList


def rows(fetch: Fetch) -> Iterator[tuple[tuple[int], str]]:
    if fetch.after:
        raise ZeroDivisionError
    for number in range(fetch.limit):
        yield (number,), json.dumps({"id": number, "text": "x" * 1000})


flow = Flow()
source = Source("broken", b"", rows, order=["id"])
asgi = cut_off(AsgiList(flow, source))
wsgi = WsgiList(flow, source)
