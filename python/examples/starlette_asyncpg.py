"""A list of Starlette over asyncpg: `DATABASE_URL=postgresql://… uvicorn starlette_asyncpg:app`."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from chunkflow import Fetch, Flow, Source
from chunkflow.starlette import ListResponse

flow = Flow(os.environ.get("CHUNKFLOW_STORE", "memory:"))


def tricks_of(pool: asyncpg.Pool, organisation: int) -> Source:
    """The tricks of an organisation, by their titles."""

    # It runs on the loop of the request, so it may use the pool of that loop.
    async def rows(fetch: Fetch) -> list[tuple[tuple[str, int], str]]:
        title, trick_id = fetch.after or ("", 0)
        found = await pool.fetch(
            """
            SELECT id, title FROM trick
            WHERE organisation_id = $1 AND (title, id) > ($2, $3)
            ORDER BY title, id LIMIT $4
            """,
            organisation,
            title,
            trick_id,
            fetch.limit,
        )
        return [((row["title"], row["id"]), json.dumps(dict(row))) for row in found]

    # All that the rows depend on is in the version, so no organisation sees another's.
    version = f"1 organisation {organisation}".encode()
    return Source("tricks", version, rows, order=["title", "id"], columns=["id", "title"])


async def tricks(request: Request) -> ListResponse:
    source = tricks_of(request.app.state.pool, request.path_params["organisation"])
    return ListResponse(flow, source)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=2) as pool:
        app.state.pool = pool
        yield


app = Starlette(
    routes=[Route("/organisations/{organisation:int}/tricks", tricks)], lifespan=lifespan
)
