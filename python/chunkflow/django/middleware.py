"""Who has written sees what was written, in every worker."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from .telling import Token, of_request

COOKIE = "chunkflow"
SECONDS = 10
"""Other workers hear of a change within two seconds. The rest is for clients that are slow."""

FORM = re.compile(r"[0-9a-f]{16}\.[0-9]{1,19}\.[0-9a-f]{16}")


class ChunkflowMiddleware:
    """Keeps the token of what a request has changed in a cookie for ten seconds. A list that the
    same client asks for in that time waits until its worker knows of the change.

    The token is no secret, and a client that makes one up gets what others get. It stands in
    `request.chunkflow_at_least`, from which `stream` takes it."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._answer(request)

        token, reset = _begin(request)
        try:
            response: HttpResponseBase = self.get_response(request)
        finally:
            of_request.reset(reset)
        return _keep(token, request, response)

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        token, reset = _begin(request)
        try:
            response: HttpResponseBase = await self.get_response(request)
        finally:
            of_request.reset(reset)
        return _keep(token, request, response)


def _begin(request: HttpRequest) -> tuple[Token, Any]:
    given = request.COOKIES.get(COOKIE, "")
    if FORM.fullmatch(given):
        request.chunkflow_at_least = given  # type: ignore[attr-defined]
    token = Token()
    return token, of_request.set(token)


def _keep(token: Token, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if token.text is not None:
        response.set_cookie(
            COOKIE,
            token.text,
            max_age=SECONDS,
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
    return response
