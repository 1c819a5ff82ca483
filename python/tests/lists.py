"""Lists for tests, and what is read of them."""

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from chunkflow import Fetch, Flow, Reply, Source

HEADERS = [("host", "localhost"), ("accept", "application/json")]


class Numbers:
    """The numbers from one on; it counts how often it was asked for them."""

    def __init__(self, count: int, padding: int = 20) -> None:
        self.count = count
        self.padding = "x" * padding
        self.fetches: list[Fetch] = []
        self.threads: set[str] = set()

    def rows(self, fetch: Fetch) -> Iterator[tuple[tuple[int], bytes]]:
        self.fetches.append(fetch)
        self.threads.add(threading.current_thread().name)
        after = fetch.after[0] if fetch.after else 0
        assert isinstance(after, int)
        for number in range(after + 1, min(after + fetch.limit, self.count) + 1):
            yield (number,), json.dumps(self.row(number)).encode()

    async def coroutine(self, fetch: Fetch) -> list[tuple[tuple[int], bytes]]:
        return list(self.rows(fetch))

    async def generator(self, fetch: Fetch) -> AsyncIterator[tuple[tuple[int], bytes]]:
        for row in self.rows(fetch):
            yield row

    def row(self, number: int) -> dict[str, object]:
        return {"id": number, "title": f"{number} {self.padding}"}

    def all(self) -> dict[str, object]:
        return {"results": [self.row(number) for number in range(1, self.count + 1)]}

    def source(self, version: bytes = b"1", rows: Any = None, **settings: Any) -> Source:
        return Source("numbers", version, rows or self.rows, order=["id"], **settings)


def read_sync(flow: Flow, source: Source, target: str = "/numbers") -> bytes:
    reply = flow.open_sync(source, target, HEADERS)
    assert reply.status == 200, (reply.status, b"".join(reply))
    return b"".join(reply)


async def read(flow: Flow, source: Source, target: str = "/numbers") -> bytes:
    reply = await flow.open(source, target, HEADERS)
    assert reply.status == 200, reply.status
    return await body(reply)


async def body(reply: Reply) -> bytes:
    return b"".join([frame async for frame in reply])


class Gate:
    """Holds the calls of a function of rows until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reached = threading.Event()

    def before(self, rows: Callable[[Fetch], Any]) -> Callable[[Fetch], Any]:
        def held(fetch: Fetch) -> Any:
            self.reached.set()
            assert self.opened.wait(30)
            return rows(fetch)

        return held
