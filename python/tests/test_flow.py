"""A flow's answers: warm and cold, for one client and many, and when rows cannot be had."""

import asyncio
import gc
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from lists import HEADERS, Gate, Numbers, body, read, read_sync

import chunkflow
from chunkflow import AllOf, AnyOf, Comparison, Cut, Fetch, Flow, Source

COUNTS = [0, 1, 49, 50, 51, 350, 10_007]


@pytest.mark.parametrize("count", COUNTS)
def test_a_list_has_all_of_its_rows_cold_and_warm(flow: Flow, count: int) -> None:
    numbers = Numbers(count)
    cold = read_sync(flow, numbers.source())
    assert json.loads(cold) == numbers.all()
    asked = len(numbers.fetches)
    assert read_sync(flow, numbers.source()) == cold
    assert len(numbers.fetches) == asked


def test_a_list_that_is_opened_by_a_function_of_rows_is_refused_and_blocks_nobody(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = Numbers(50)
    inner = numbers.source()

    def rows(fetch: Fetch) -> list[tuple[tuple[int], str]]:
        return [((1,), read_sync(flow, inner).decode())]

    async def coroutine(fetch: Fetch) -> list[tuple[tuple[int], str]]:
        return [((1,), (await read(flow, inner)).decode())]

    for at, function in enumerate([rows, coroutine]):
        outer = Source(f"outer {at}", b"", function, order=["id"])
        # More of them than the pool has threads.
        assert [flow.open_sync(outer, "/", []).status for _ in range(5)] == [500] * 5
        assert f"the rows of `outer {at}`: lists cannot be parts of rows" in caplog.text
    assert json.loads(read_sync(flow, inner)) == numbers.all()


@pytest.mark.parametrize("count", COUNTS)
async def test_a_coroutine_or_an_asynchronous_generator_gives_the_same_list(
    flow: Flow, count: int
) -> None:
    numbers = Numbers(count)
    for version, rows in enumerate([numbers.rows, numbers.coroutine, numbers.generator]):
        source = numbers.source(bytes([version]), rows)
        assert json.loads(await read(flow, source)) == numbers.all()


def test_a_coroutine_runs_on_a_loop_of_the_pool_where_there_is_none(flow: Flow) -> None:
    numbers = Numbers(1_000)
    for version, rows in enumerate([numbers.coroutine, numbers.generator]):
        assert json.loads(read_sync(flow, numbers.source(bytes([version]), rows))) == numbers.all()
    assert all(name.startswith("chunkflow-rows") for name in numbers.threads)


async def test_a_coroutine_runs_on_the_loop_of_the_request(flow: Flow) -> None:
    loops = []

    async def rows(fetch: Fetch) -> list[tuple[tuple[int], str]]:
        loops.append(asyncio.get_running_loop())
        return [((1,), '{"id":1}')]

    await read(flow, Source("one", b"", rows, order=["id"]))
    assert loops == [asyncio.get_running_loop()]


async def test_a_function_is_asked_for_500_rows_at_most(flow: Flow) -> None:
    numbers = Numbers(10_007)
    await read(flow, numbers.source())
    assert max(fetch.limit for fetch in numbers.fetches) == 500
    assert all(name.startswith("chunkflow-rows") for name in numbers.threads)


async def test_a_warm_list_needs_no_thread_no_await_and_no_call_of_rows(flow: Flow) -> None:
    numbers = Numbers(10_007)
    cold = await read(flow, numbers.source())
    asked, threads = len(numbers.fetches), set(threading.enumerate())
    scheduled = 0

    # Driven by hand: a coroutine that really awaited something would yield here.
    coroutine = read(flow, numbers.source())
    try:
        coroutine.send(None)
        scheduled += 1
    except StopIteration as ended:
        warm = ended.value
    assert scheduled == 0
    assert warm == cold
    assert len(numbers.fetches) == asked
    assert set(threading.enumerate()) == threads


async def test_a_list_comes_in_pieces_of_64_kib(flow: Flow) -> None:
    numbers = Numbers(10_007, 200)
    await read(flow, numbers.source())
    reply = await flow.open(numbers.source(), "/", HEADERS)
    pieces = [piece async for piece in reply]
    assert all(len(piece) == 64 * 1024 for piece in pieces[:-1])
    assert reply.length == sum(map(len, pieces))
    assert len(json.loads(b"".join(pieces))["results"]) == 10_007
    assert ("content-length", str(reply.length)) in reply.headers


async def test_eight_clients_of_a_cold_list_cause_one_call_for_each_run(flow: Flow) -> None:
    numbers = Numbers(10_007)
    alone = Numbers(10_007)
    await read(flow, alone.source(b"alone"))
    gate = Gate()
    source = numbers.source(rows=gate.before(numbers.rows))
    tasks = [asyncio.create_task(read(flow, source)) for _ in range(8)]
    await asyncio.to_thread(gate.reached.wait)
    gate.opened.set()
    bodies = await asyncio.gather(*tasks)
    assert len(set(bodies)) == 1
    assert json.loads(bodies[0]) == numbers.all()
    assert len(numbers.fetches) == len(alone.fetches)


async def test_eight_threads_cause_one_call_for_each_run_too(flow: Flow) -> None:
    numbers = Numbers(1_000)
    gate = Gate()
    source = numbers.source(rows=gate.before(numbers.rows))
    tasks = [asyncio.create_task(asyncio.to_thread(read_sync, flow, source)) for _ in range(8)]
    await asyncio.to_thread(gate.reached.wait)
    gate.opened.set()
    assert len(set(await asyncio.gather(*tasks))) == 1
    assert len({fetch.after for fetch in numbers.fetches}) == len(numbers.fetches)


async def test_no_more_calls_run_at_once_than_the_pool_has_threads(
    flows: Callable[..., Flow],
) -> None:
    flow = flows(pool=2)
    running, most = 0, 0
    lock = threading.Lock()
    full = threading.Barrier(2)

    def rows(fetch: Fetch) -> list[tuple[tuple[int], str]]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        full.wait(30)
        with lock:
            running -= 1
        return [((1,), '{"id":1}')]

    lists = [Source("one", bytes([version]), rows, order=["id"]) for version in range(12)]
    await asyncio.gather(*[read(flow, source) for source in lists])
    assert most == 2


async def test_no_more_coroutines_run_at_once_than_the_pool_has_threads(
    flows: Callable[..., Flow],
) -> None:
    flow = flows(pool=2)
    running, most = 0, 0

    async def rows(fetch: Fetch) -> list[tuple[tuple[int], str]]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return [((1,), '{"id":1}')]

    lists = [Source("one", bytes([version]), rows, order=["id"]) for version in range(12)]
    await asyncio.gather(*[read(flow, source) for source in lists])
    assert most == 2


async def test_a_client_that_leaves_harms_nobody(flow: Flow) -> None:
    numbers = Numbers(1_000)
    gate = Gate()
    source = numbers.source(rows=gate.before(numbers.rows))
    leaver = asyncio.create_task(read(flow, source))
    await asyncio.to_thread(gate.reached.wait)
    stayer = asyncio.create_task(read(flow, source))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    gate.opened.set()
    assert json.loads(await stayer) == numbers.all()
    assert leaver.cancelled()
    assert [fetch.after for fetch in numbers.fetches].count(None) == 1


async def test_a_generator_that_nobody_waits_for_is_closed(flow: Flow) -> None:
    begun, closed = threading.Event(), threading.Event()
    steps = threading.Semaphore(0)
    given = 0

    def rows(fetch: Fetch) -> Iterator[tuple[tuple[int], str]]:
        nonlocal given
        try:
            for number in range(fetch.limit):
                begun.set()
                assert steps.acquire(timeout=30)
                given += 1
                yield (number,), '{"a":1}'
        finally:
            closed.set()

    task = asyncio.create_task(read(flow, Source("left", b"", rows, order=["id"])))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    while "chunkflow_loads_abandoned_total 1" not in flow.metrics():
        await asyncio.sleep(0.01)
    while not closed.is_set():
        steps.release()
        await asyncio.sleep(0.01)
    assert given < 100


async def test_a_coroutine_that_nobody_waits_for_is_cancelled(flow: Flow) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def rows(fetch: Fetch) -> list[tuple[tuple[int], str]]:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return []

    task = asyncio.create_task(read(flow, Source("left", b"", rows, order=["id"])))
    await begun.wait()
    task.cancel()
    await asyncio.wait_for(cancelled.wait(), 30)


async def test_a_slow_client_holds_no_thread_and_no_call(flow: Flow) -> None:
    numbers = Numbers(10_007, 200)
    first = await flow.open(numbers.source(), "/", HEADERS)
    await anext(first)
    slow = [await flow.open(numbers.source(), "/", HEADERS) for _ in range(100)]
    for reply in slow:
        await anext(reply)
    assert json.loads(await read(flow, numbers.source())) == numbers.all()
    rows = [thread for thread in threading.enumerate() if "chunkflow" in thread.name]
    assert len(rows) <= 2 + 2
    for reply in slow:
        reply.close()


async def test_an_exception_before_the_first_byte_is_a_500_and_logged(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    def rows(fetch: Fetch) -> Any:
        raise ZeroDivisionError("a secret of the program")

    reply = await flow.open(Source("broken", b"", rows, order=["id"]), "/", HEADERS)
    assert reply.status == 500
    assert ("content-type", "application/problem+json") in reply.headers
    assert b"secret" not in await body(reply)
    record = next(record for record in caplog.records if record.exc_info)
    assert record.name == "chunkflow"
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize(("error", "status"), [(ConnectionError, 503), (TimeoutError, 504)])
def test_a_source_that_is_away_or_slow_is_said_so(
    flow: Flow, error: type[Exception], status: int
) -> None:
    def rows(fetch: Fetch) -> Any:
        raise error("the database")

    assert flow.open_sync(Source("away", b"", rows, order=["id"]), "/", HEADERS).status == status


def late(fetch: Fetch) -> Iterator[tuple[tuple[int], str]]:
    if fetch.after:
        raise ZeroDivisionError("in mid-stream")
    for number in range(fetch.limit):
        yield (number,), json.dumps({"id": number, "text": "x" * 1000})


async def test_an_exception_behind_the_first_byte_is_raised_where_the_body_is_read(
    flow: Flow,
) -> None:
    source = Source("late", b"", late, order=["id"])
    reply = await flow.open(source, "/", HEADERS)
    assert reply.status == 200
    assert await anext(reply)
    with pytest.raises(Cut):
        await body(reply)
    with pytest.raises(Cut):
        await anext(reply)

    reply = flow.open_sync(source, "/", HEADERS)
    with pytest.raises(Cut):
        list(reply)
    with pytest.raises(Cut):
        next(reply)


async def test_a_frame_that_was_given_up_is_never_missing_in_silence(flow: Flow) -> None:
    numbers = Numbers(2_000, 500)
    gate = Gate()

    def rows(fetch: Fetch) -> Any:
        return gate.before(numbers.rows)(fetch) if fetch.after else numbers.rows(fetch)

    reply = await flow.open(numbers.source(rows=rows), "/", HEADERS)
    await anext(reply)

    async def given_up() -> None:
        while True:
            await asyncio.wait_for(anext(reply), 0.05)

    async def read_on() -> None:
        while True:
            try:
                await anext(reply)
            except RuntimeError:  # the frame is still on its way
                await asyncio.sleep(0.01)

    with pytest.raises(asyncio.TimeoutError):
        await given_up()
    gate.opened.set()
    with pytest.raises(Cut):
        await read_on()


@pytest.mark.parametrize(
    "row",
    [
        ((1,), b"[1]"),
        ((1,), b"{"),
        ((1,), b"\xff"),
        ((1,), {"id": 1}),
        ((1, 2), b"{}"),
        ([1], b"{}"),
        ((uuid.uuid4(),), b"{}"),
        ((1,),),
        (1, 2, 3, 4),
        None,
    ],
)
def test_what_is_no_row_fails_the_load_and_not_the_process(flow: Flow, row: Any) -> None:
    source = Source("wrong", b"", lambda fetch: [row], order=["id"])
    assert flow.open_sync(source, "/", HEADERS).status == 500


def test_keys_of_every_type_come_back_as_they_were(flow: Flow) -> None:
    keys: list[tuple[Any, ...]] = [
        (None, 1),
        (True, 2),
        (-(2**63), 3),
        (2**63 - 1, 4),
        (2**80, 5),
        (1.5, 6),
        ("text 中 \0", 7),
        (b"\0\xff", 8),
        (Decimal("12.50"), 9),
        (Decimal("7"), 10),
        ("", 11),
    ]
    seen = []

    def rows(fetch: Fetch) -> list[tuple[tuple[Any, ...], str]]:
        seen.append(fetch.after)
        at = 0 if fetch.after is None else keys.index(fetch.after) + 1
        return [(key, f'{{"at":{key[1]}}}') for key in keys[at : at + 1]]

    # A run of one row ends the list; each page goes on behind the one before.
    target = "/?limit=1"
    for _ in keys:
        reply = flow.open_sync(Source("keys", b"", rows, order=["a", "id"]), target, HEADERS)
        assert reply.status == 200
        list(reply)
        link = dict(reply.headers).get("link")
        if link is None:
            break
        target = "/" + link[1 : link.index(">")]
    for after in seen:
        if after is not None:
            key = keys[[key[1] for key in keys].index(after[1])]
            assert (type(after[0]), after) == (type(key[0]), key)


def test_filters_reach_the_function_as_conditions(flow: Flow) -> None:
    asked: list[Fetch] = []

    def rows(fetch: Fetch) -> list[Any]:
        asked.append(fetch)
        return []

    source = Source("some", b"", rows, order=["id"], filters=[("id", "integer"), ("title", "text")])
    read_sync(flow, source, "/?id=gt.7&or=(title.like.a*,and(id.in.(1,2),title.is.null))")
    found = sorted(asked[0].conditions, key=repr)
    match found:
        case [
            AnyOf(
                (
                    Comparison("title", "like", ("a*",)),
                    AllOf((Comparison("id", "in", ("1", "2")), Comparison("title", "is.null", ()))),
                )
            ),
            Comparison("id", "gt", ("7",)),
        ]:
            pass
        case _:
            pytest.fail(repr(found))
    assert flow.open_sync(source, "/?id=gt.x", HEADERS).status == 400
    assert flow.open_sync(source, "/?name=eq.x", HEADERS).status == 400


def test_lists_differ_by_name_version_order_columns_and_sizes(flow: Flow) -> None:
    read_lists = 0

    def rows(fetch: Fetch) -> list[Any]:
        nonlocal read_lists
        read_lists += 1
        return [((1,), '{"id":1}')]

    variants: list[dict[str, Any]] = [
        {},
        {"name": "other"},
        {"version": b"2"},
        {"order": ["-id"]},
        {"columns": ["id"]},
        {"chunk_rows": 51},
        {"chunk_bytes": 1},
    ]
    for variant in variants * 2:
        settings = {"name": "list", "version": b"1", "order": ["id"], **variant}
        read_sync(flow, Source(settings.pop("name"), settings.pop("version"), rows, **settings))
    assert read_lists == len(variants)


def test_formats_encodings_methods_and_envelopes_are_the_library_s(flow: Flow) -> None:
    numbers = Numbers(100)
    source = numbers.source(columns=["id", "title"])
    csv = flow.open_sync(source, "/", [("accept", "text/csv")])
    assert b"".join(csv).startswith(b"id,title\r\n1,1 xxx")
    lines = b"".join(flow.open_sync(source, "/", HEADERS, format="ndjson")).splitlines()
    assert [json.loads(line) for line in lines] == numbers.all()["results"]
    packed = flow.open_sync(source, "/", [*HEADERS, ("accept-encoding", "gzip")])
    assert ("content-encoding", "gzip") in packed.headers
    head = flow.open_sync(source, "/", HEADERS, method="HEAD")
    assert (head.status, b"".join(head)) == (200, b"")
    assert flow.open_sync(source, "/", HEADERS, method="DELETE").status == 405
    assert flow.open_sync(source, "/?select=id&limit=1", HEADERS).status == 200
    bare = b"".join(flow.open_sync(numbers.source(envelope=None), "/", HEADERS))
    assert json.loads(bare) == numbers.all()["results"]
    assert flow.open_sync(numbers.source(), "/", [("accept", "text/csv")]).status == 406


@pytest.mark.parametrize("target", ["/numbers?id=eq.\xe9", "numbers", "", "?limit=1", "/\x00 \n"])
def test_any_target_is_answered(flow: Flow, target: str) -> None:
    assert flow.open_sync(Numbers(1).source(), target, HEADERS).status in {200, 400}


def test_what_cannot_be_is_said_with_a_remedy(flow: Flow) -> None:
    wrong: list[dict[str, Any]] = [{"order": []}, {"ttl": -1.0}, {"filters": [("id", "digits")]}]
    for settings in wrong:
        with pytest.raises(ValueError, match="`"):
            Source("wrong", b"", lambda fetch: [], **{"order": ["id"], **settings})
    with pytest.raises(ValueError, match="name of a resource"):
        flow.open_sync(Source("", b"", lambda fetch: [], order=["id"]), "/", HEADERS)
    with pytest.raises(ValueError, match="format"):
        flow.open_sync(Numbers(1).source(), "/", HEADERS, format="xml")
    impossible: list[dict[str, Any]] = [{"store": "nothing:"}, {"secret": "short"}, {"pool": 0}]
    for settings in impossible:
        with pytest.raises(ValueError, match=r"."):
            Flow(**settings).metrics()


async def test_a_flow_that_is_closed_opens_anew(flow: Flow) -> None:
    numbers = Numbers(10)
    await read(flow, numbers.source())
    flow.close()
    assert json.loads(await read(flow, numbers.source())) == numbers.all()
    assert len(numbers.fetches) == 2


async def test_each_call_that_waits_gets_an_error_when_the_flow_is_closed(flow: Flow) -> None:
    gate = Gate()
    source = Numbers(10).source(rows=gate.before(Numbers(10).rows))
    thread = asyncio.create_task(asyncio.to_thread(read_sync, flow, source))
    await asyncio.to_thread(gate.reached.wait)
    waiting = asyncio.create_task(read(flow, source))
    # It opens its list before the flow is closed; later it would open the flow anew.
    await asyncio.sleep(0.01)
    flow.close()
    for task in (waiting, thread):
        with pytest.raises(RuntimeError, match="closed"):
            await task
    gate.opened.set()


async def test_a_list_that_is_opened_while_another_thread_closes_the_flow_ends(flow: Flow) -> None:
    numbers = Numbers(10)
    is_over = threading.Event()

    def close() -> None:
        while not is_over.is_set():
            flow.close()

    closing = asyncio.create_task(asyncio.to_thread(close))
    try:
        for _ in range(200):
            # Another list each time, so that none is at hand.
            sources = [numbers.source(version=uuid.uuid4().bytes) for _ in range(3)]
            reads = asyncio.gather(*(read(flow, one) for one in sources), return_exceptions=True)
            for outcome in await asyncio.wait_for(reads, 60):
                # In the middle, as a cut or a problem.
                assert isinstance(outcome, bytes | RuntimeError | AssertionError | Cut), outcome
    finally:
        is_over.set()
        await closing


async def test_a_flow_that_nobody_has_any_more_ends_its_threads() -> None:
    flow = Flow()
    await read(flow, Numbers(10).source())
    names = {"chunkflow-wake", "chunkflow-log", "chunkflow-rows-0"}
    threads = [thread for thread in threading.enumerate() if thread.name in names]
    assert len(threads) >= 3
    del flow
    gc.collect()
    for thread in threads[-3:]:
        await asyncio.to_thread(thread.join, 30)
        assert not thread.is_alive()


def test_a_loop_that_was_closed_in_the_meantime_does_no_harm(flow: Flow) -> None:
    numbers = Numbers(1_000)
    gate = Gate()
    source = numbers.source(rows=gate.before(numbers.rows))

    async def leave() -> None:
        flow.open(source, "/", HEADERS)
        await asyncio.to_thread(gate.reached.wait)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    gate.opened.set()
    assert json.loads(read_sync(flow, source)) == numbers.all()


async def test_told_changes_are_in_the_list_at_once(flow: Flow) -> None:
    titles = {number: f"title {number}" for number in range(1, 1001)}
    read_rows = 0

    def rows(fetch: Fetch) -> list[Any]:
        nonlocal read_rows
        after = fetch.after[0] if fetch.after else 0
        assert isinstance(after, int)
        wanted = [number for number in sorted(titles) if number > after]
        for condition in fetch.conditions:
            match condition:
                case Comparison("id", "eq" | "in", values):
                    wanted = [number for number in wanted if str(number) in values]
                case _:
                    raise NotImplementedError(condition)
        wanted = wanted[: fetch.limit]
        read_rows += len(wanted)
        return [
            ((number,), json.dumps({"id": number, "title": titles[number]}), [(0, (number % 7,))])
            for number in wanted
        ]

    def source() -> Source:
        author = chunkflow.Related("author", ["id"])
        tables = chunkflow.Follows("book", ["id"], related=[author], others=["price"])
        return Source("books", b"", rows, order=["id"], follows=tables, chunk_bytes=1)

    async def shown() -> dict[int, str]:
        found = json.loads(await read(flow, source()))["results"]
        return {row["id"]: row["title"] for row in found}

    assert await shown() == titles
    whole, read_rows = read_rows, 0
    titles[500] = "changed"
    token = await flow.changed([chunkflow.Change("book", ["500"])])
    assert await shown() == titles
    assert 0 < read_rows < whole / 2
    reply = await flow.open(source(), f"/?at_least={token}", HEADERS)
    assert reply.status == 200

    read_rows = 0
    await flow.changed([chunkflow.Change("author", ["3"])])
    await shown()
    assert read_rows > whole / 2

    titles[1001] = "new"
    del titles[7]
    flow.changed_sync([chunkflow.Change("book", ["1001"]), chunkflow.Change("book", ["7"])])
    assert await shown() == titles

    read_rows = 0
    await flow.purge("price")
    await shown()
    assert read_rows >= len(titles)
    read_rows = 0
    await shown()
    assert read_rows == 0
    flow.purge_sync("book")
    await shown()
    assert read_rows >= len(titles)
    with pytest.raises(ValueError, match="no resource"):
        await flow.changed([chunkflow.Change("book", ["1"], database="elsewhere")])


def test_what_the_library_logs_is_in_python_s_log(
    flows: Callable[..., Flow], caplog: pytest.LogCaptureFixture
) -> None:
    def rows(fetch: Fetch) -> Any:
        raise ConnectionError

    flow = flows()
    with caplog.at_level(logging.INFO, "chunkflow"):
        flow.open_sync(Source("away", b"", rows, order=["id"]), "/", HEADERS)
        # A thread of its own writes it.
        until = time.monotonic() + 30
        while not any("a load failed" in record.getMessage() for record in caplog.records):
            assert time.monotonic() < until
            time.sleep(0.01)
        flow.close()


class Forged(Decimal):
    """A number in a key that no number can be made of, as a forged cursor may hold one."""

    def __str__(self) -> str:
        return f"no number {int(self):09}"


@pytest.mark.parametrize("kind", ["rows", "coroutine"])
async def test_a_cursor_that_no_value_can_be_made_of_is_a_fault_of_its_request_only(
    flow: Flow, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def rows(fetch: Fetch) -> list[tuple[tuple[Decimal], bytes]]:
        return [((Forged(number),), b'{"a": 1}') for number in range(fetch.limit)]

    async def coroutine(fetch: Fetch) -> list[tuple[tuple[Decimal], bytes]]:
        return rows(fetch)

    for at in range(5):
        asked = rows if kind == "rows" else coroutine
        reply = await flow.open(Source("forged", b"%d" % at, asked, order=["id"]), "/", HEADERS)
        assert reply.status == 200
        with pytest.raises(Cut):
            async for _ in reply:
                pass

    numbers = Numbers(100)
    found = await asyncio.wait_for(read(flow, numbers.source(rows=getattr(numbers, kind))), 5)
    assert json.loads(found) == numbers.all()
    assert "goes on after an error" not in caplog.text
