"""Lists for all that speaks ASGI.

    async def application(scope, receive, send):
        await ListResponse(flow, source)(scope, receive, send)

For Starlette and FastAPI there is `chunkflow.starlette`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from chunkflow._native import Flow, Reply, Source
from chunkflow._threads import get_running_loop

__all__ = ["ListResponse", "cut_off", "respond"]

PATIENCE = 10.0
"""Seconds in which a client takes what was sent before its connection is closed."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = Iterable[tuple[bytes, bytes]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class ListResponse:
    """An ASGI application that answers a request with a list."""

    def __init__(self, flow: Flow, source: Source) -> None:
        self.flow = flow
        self.source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(self.flow, self.source, scope, receive, send)


def cut_off(application: Application) -> Application:
    """The application for Daphne: where a response breaks off, its connection is closed.

    Other servers do so by themselves. Daphne 4.2 leaves it open, so that the client waits for the
    rest for ever, and ends no other request's application from then on.
    """

    async def cutting(scope: Scope, receive: Receive, send: Send) -> None:
        if _of_daphne(send) is None:
            await application(scope, receive, send)
            return

        began = False

        async def noted(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await application(scope, receive, noted)
        except Exception:
            if began:
                await _close(_of_daphne(send), receive)
            raise

    return cutting


def _of_daphne(send: Send) -> Any:
    """The request of Daphne's that a message is sent for, if it is Daphne that serves."""
    request = next(iter(getattr(send, "args", ())), None)
    return request if type(request).__module__ == "daphne.http_protocol" else None


async def _close(request: Any, receive: Receive) -> None:
    """Closes a connection of Daphne's, and waits until Daphne knows."""
    channel = request.channel
    if channel is None:
        return
    if (connection := getattr(channel, "_conn", None)) is not None:
        # HTTP/2: Twisted resets a single stream without an error, as if it were whole.
        connection.transport.abortConnection()
    else:
        channel.loseConnection()
    try:
        await asyncio.wait_for(left(receive), PATIENCE)
    except asyncio.TimeoutError:
        # The client does not take what was sent to it before.
        channel.transport.abortConnection()


async def respond(
    flow: Flow,
    source: Source,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    headers: RawHeaders = (),
) -> None:
    """Answers a request with a list; `headers` are sent besides its own.

    What is at hand is sent without another task. Else the client is watched meanwhile: if it
    leaves, the work that was done for it stops.
    """
    # A list that is at hand needs none; the next one may not be at hand.
    get_running_loop()
    opening = open_list(flow, source, scope)
    if is_waited_for(opening):
        await unless_left(send_list(opening, send, headers), receive)
        return

    reply = await opening
    if reply.length is None:
        await unless_left(send_reply(reply, send, headers), receive)
    else:
        await send_reply(reply, send, headers)


def open_list(flow: Flow, source: Source, scope: Scope) -> Awaitable[Reply]:
    query = scope["query_string"].decode("latin-1")
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    host = next((value for name, value in pairs if name == "host"), None)
    base = host and f"{scope.get('scheme', 'http')}://{host}"
    return flow.open(source, f"/?{query}", pairs, method=scope["method"], base=base)


def is_waited_for(opening: Awaitable[Reply]) -> bool:
    return isinstance(opening, asyncio.Future)


async def send_list(opening: Awaitable[Reply], send: Send, headers: RawHeaders) -> None:
    await send_reply(await opening, send, headers)


async def send_reply(reply: Reply, send: Send, headers: RawHeaders) -> None:
    own = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers]
    start = {"type": "http.response.start", "status": reply.status, "headers": [*own, *headers]}
    try:
        await send(start)
        async for frame in reply:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        # Nothing is left to do for a reply that was sent, or that nobody takes any more.
        reply.close()


async def unless_left(sending: Any, receive: Receive) -> None:
    """Runs `sending`, but only as long as the client is there."""
    work = asyncio.ensure_future(sending)
    leaving = asyncio.ensure_future(left(receive))
    try:
        await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not work.done():
            work.cancel()
        await asyncio.gather(work, leaving, return_exceptions=True)
    if not work.cancelled():
        # A list that broke off: the server breaks the connection.
        work.result()


async def left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
