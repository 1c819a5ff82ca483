"""A request, as the library takes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

from django.http import HttpRequest

FORMATS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "sse": "text/event-stream",
}
"""The formats, with their media types."""


class Asked(NamedTuple):
    """A request, as the library takes it."""

    target: str
    newest: str
    """The same, where the client's last change must be seen."""
    aside: str
    """The same, for rows that are not cached."""
    headers: list[tuple[str, str]]
    method: str
    format: str | None

    @staticmethod
    def of(
        request: HttpRequest, params: Iterable[str], named: str | None, formats: Sequence[str]
    ) -> Asked:
        own = {params} if isinstance(params, str) else set(params)
        text = request.META.get("QUERY_STRING", "")
        parts = [
            part
            for part in text.split("&")
            if part and unquote_plus(part.partition("=")[0]) not in own
        ]
        path = quote(request.path or "/", safe="/")
        target = "?".join([path, *(["&".join(parts)] if parts else [])])
        # Rows that are not cached are as new as the database, which knows no tokens.
        rest = [part for part in parts if not part.startswith("at_least=")]
        uncached = "?".join([path, *(["&".join(rest)] if rest else [])])
        # The token of the client's last write; see the middleware.
        token = getattr(request, "chunkflow_at_least", None)
        newest = target
        if token and len(rest) == len(parts):
            newest += f"{'&' if parts else '?'}at_least={token}"
        headers = [(str(name).lower(), str(value)) for name, value in request.headers.items()]
        if named is not None and named not in formats:
            raise ValueError(f"the format `{named}` is not among `formats`")
        if len(formats) < len(FORMATS):
            accepts = [value for name, value in headers if name == "accept"]
            headers = [pair for pair in headers if pair[0] != "accept"]
            headers.append(("accept", _acceptable(", ".join(accepts), formats)))
        return Asked(target, newest, uncached, headers, request.method or "GET", named)


def _acceptable(accept: str, formats: Sequence[str]) -> str:
    """What a client accepts of these formats, in the form of its header."""
    kept = []
    for one in (accept or "*/*").split(","):
        media, semicolon, rest = one.strip().partition(";")
        kind = media.strip().lower()
        for name in formats:
            its = FORMATS[name]
            if kind in (its, "*/*", its.partition("/")[0] + "/*"):
                kept.append(f"{its}{semicolon}{rest}")
            elif name == "ndjson" and kind in ("application/ndjson", "application/jsonl"):
                kept.append(one.strip())
    # With nothing left the library answers with 406.
    return ", ".join(kept) or "application/x-chunkflow-none"
