"""Nothing is kept of requests, of rows, or of what rows were made from.

The tests ask 10,000 times, and `REQUESTS=100000 python/test tests/test_leaks.py
tests/django/test_memory.py -s` as often as it says; it prints how much memory the process had after
each tenth of them.
"""

import asyncio
import gc
import os
import resource
import sys
import weakref
from collections.abc import Iterator
from typing import Any

from lists import HEADERS, Numbers, body, read, read_sync

from chunkflow import Fetch, Flow, Source

REQUESTS = int(os.environ.get("REQUESTS", "10000"))


def in_memory() -> int:
    """How many bytes of the process are in memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def is_flat(measured: list[int]) -> bool:
    """Whether the second half of the requests took less than 40 bytes for each: any object that
    was kept would take more."""
    show(measured)
    return measured[-1] - measured[len(measured) // 2] < REQUESTS // 2 * 40


def show(measured: list[int]) -> None:
    print("KiB in memory:", *[size >> 10 for size in measured])  # noqa: T201


def test_warm_requests_leave_memory_flat(flow: Flow) -> None:
    numbers = Numbers(350)
    measured = []
    for _ in range(10):
        for _ in range(REQUESTS // 10):
            read_sync(flow, numbers.source())
        gc.collect()
        measured.append(in_memory())
    assert len(numbers.fetches) <= 2
    assert is_flat(measured), measured


async def test_warm_requests_of_a_loop_leave_memory_flat(flow: Flow) -> None:
    numbers = Numbers(350)
    measured = []
    for _ in range(10):
        for _ in range(REQUESTS // 10):
            await read(flow, numbers.source())
        gc.collect()
        measured.append(in_memory())
    assert is_flat(measured), measured


async def test_cold_requests_and_those_that_are_given_up_leave_memory_flat(flow: Flow) -> None:
    numbers = Numbers(60)
    measured = []
    for round_ in range(10):
        for index in range(REQUESTS // 100):
            version = f"{round_} {index}".encode()
            task = asyncio.create_task(read(flow, numbers.source(version)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await read(flow, numbers.source(version))
        numbers.fetches.clear()
        # What was read is kept for ten seconds at most, and chunks as long as there is room.
        measured.append(in_memory())
    show(measured)
    assert measured[-1] - measured[0] < 64 << 20, measured


async def test_a_source_and_what_its_function_holds_are_let_go(flow: Flow) -> None:
    class Queryset:
        pass

    def source_of(held: Queryset) -> Source:
        def rows(fetch: Fetch) -> Iterator[Any]:
            assert held
            yield (1,), '{"id":1}'

        return Source("held", b"", rows, order=["id"])

    gone = []
    for _ in range(3):
        held = Queryset()
        gone.append(weakref.ref(held))
        await read(flow, source_of(held))
        del held
    gc.collect()
    # The first may serve a load that is not quite over; those that found all at hand are gone.
    read_sync(flow, Numbers(1).source())
    assert [reference() for reference in gone[1:]] == [None, None]


def test_rows_and_their_values_have_the_references_that_they_had(flow: Flow) -> None:
    key, text = (12345678901,), '{"id":"' + "x" * 100 + '"}'
    before = sys.getrefcount(key), sys.getrefcount(text), sys.getrefcount(key[0])
    for version in range(100):
        read_sync(flow, Source("one", bytes([version]), lambda fetch: [(key, text)], order=["id"]))
    assert (sys.getrefcount(key), sys.getrefcount(text), sys.getrefcount(key[0])) == before


async def test_a_reply_that_is_dropped_is_gone(flow: Flow) -> None:
    numbers = Numbers(10_007, 200)
    await read(flow, numbers.source())
    for _ in range(3):
        reply = await flow.open(numbers.source(), "/", HEADERS)
        await anext(reply)
        assert sys.getrefcount(reply) == 2
        del reply
    whole = await body(await flow.open(numbers.source(), "/", HEADERS))
    assert len(whole) > 1 << 20
