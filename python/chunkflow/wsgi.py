"""Lists for Flask, and for all that speaks WSGI.

    @app.get("/tricks")
    def tricks():
        return ListResponse(flow, tricks_of(g.organisation))

A worker is busy with a list until its client has taken it, or the server has: a list that is at
hand has a `Content-Length`, and most servers pass it on as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from chunkflow._native import Flow, Reply, Source

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["ListResponse"]


class ListResponse:
    """A WSGI application that answers a request with a list; views of Flask may return it."""

    def __init__(self, flow: Flow, source: Source) -> None:
        self.flow = flow
        self.source = source

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        reply = open_list(self.flow, self.source, environ)
        start_response(f"{reply.status} {phrase(reply.status)}", reply.headers)
        return reply


def open_list(flow: Flow, source: Source, environ: dict[str, Any]) -> Reply:
    pairs = [
        (key[5:].replace("_", "-"), value)
        for key, value in environ.items()
        if key.startswith("HTTP_")
    ]
    if content_type := environ.get("CONTENT_TYPE"):
        pairs.append(("content-type", content_type))
    host = environ.get("HTTP_HOST")
    base = host and f"{environ['wsgi.url_scheme']}://{host}"
    target = f"/?{environ.get('QUERY_STRING', '')}"
    return flow.open_sync(source, target, pairs, method=environ["REQUEST_METHOD"], base=base)


def phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
