"""Lists for Starlette and FastAPI.

@app.get("/tricks")
async def tricks(request: Request) -> Response:
    return ListResponse(flow, tricks_of(request.user.organisation))
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from chunkflow._native import Flow, Source
from chunkflow.asgi import respond

__all__ = ["ListResponse"]


class ListResponse(Response):
    """A response with a list. Headers and cookies that are set on it are sent besides the list's.

    The list is opened when the response is sent, so that a client that leaves while it is loaded
    ends the load, unless others wait for it too.
    """

    def __init__(self, flow: Flow, source: Source) -> None:
        super().__init__()
        # The list has its own length and type.
        self.raw_headers = []
        self.flow = flow
        self.source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(self.flow, self.source, scope, receive, send, headers=self.raw_headers)
        if self.background is not None:
            await self.background()
