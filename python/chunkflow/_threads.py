"""The threads that Python starts for a flow, and what they run.

No other thread runs Python while its flow is open, and none of these is within native code when it
waits for Python's lock. So the interpreter can end at any moment.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import logging
import sys
import threading
import weakref
from collections.abc import AsyncIterable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from chunkflow._native import Invalid, end, left

if TYPE_CHECKING:
    from chunkflow._native import Call, Calls, Flow, Line, Outcome

__all__ = ["get_running_loop"]

logger = logging.getLogger("chunkflow")

flows: weakref.WeakSet[Flow] = weakref.WeakSet()
tasks: set[asyncio.Task[None]] = set()


def remember(flow: Flow) -> None:
    """Has Python's exit close the flow."""
    flows.add(flow)


@atexit.register
def close_all() -> None:
    end()
    for flow in list(flows):
        flow.close()
    left()


def get_running_loop() -> asyncio.AbstractEventLoop:
    """The event loop of the task that calls."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "chunkflow waits on an event loop of asyncio, and none runs here; under trio call "
            "`flow.open_sync` in a thread, by `trio.to_thread.run_sync`"
        ) from None


def refuse_greenlets() -> None:
    """Raises if threads are greenlets. One that waits in native code would hold up all of them."""
    gevent: Any = sys.modules.get("gevent.monkey")
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        name = "gevent"
    elif eventlet is not None and eventlet.is_monkey_patched("thread"):
        name = "eventlet"
    else:
        return
    raise RuntimeError(
        f"chunkflow needs threads, which {name} has replaced by greenlets; take other workers, "
        "`gunicorn --worker-class gthread --threads 8`"
    )


def start(name: str, target: Callable[..., None], *arguments: object) -> None:
    refuse_greenlets()
    # A daemon, since Python would else wait for it before it calls what is registered with atexit.
    threading.Thread(target=target, args=arguments, name=name, daemon=True).start()


def serve(line: Line) -> None:
    """Calls what is in a line, until it is closed."""
    while (errand := taken(line)) is not None:
        function, *arguments = errand
        try:
            function(*arguments)
        except Exception:
            logger.exception("a thread of chunkflow goes on after an error")
        del errand, function, arguments


def taken(line: Line) -> tuple[Any, ...] | None:
    """What comes next in a line. What cannot be made is left out, since others wait behind it."""
    while True:
        try:
            return line.take()
        except Exception:
            logger.exception("a thread of chunkflow goes on after an error")


def rest() -> None:
    """Does nothing, where there is nothing to do."""


def log(level: int, text: str) -> None:
    logger.log(level, "%s", text)


def settle(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], outcome: Outcome) -> None:
    # If the loop is closed, nobody waits.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(complete, future, outcome)


def complete(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.done():
        return
    try:
        value = outcome.take()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(value)


def is_async(rows: Callable[..., object]) -> bool:
    """Whether it is a function of coroutines or of asynchronous generators."""
    call = rows if inspect.isroutine(rows) else getattr(rows, "func", None) or type(rows).__call__
    return any(
        test(function)
        for function in (rows, call)
        for test in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    )


_pool = threading.local()


def refuse_within_rows() -> None:
    """Raises if this thread reads rows. If each thread of the pool waited for rows of another list,
    none would be left to read them."""
    name = getattr(_pool, "name", None)
    if name is not None:
        raise RuntimeError(
            f"a list was opened by the function that gives the rows of `{name}`: lists cannot be "
            "parts of rows; read what a row needs from the database, or give it a list of its own"
        )


def work(calls: Calls) -> None:
    """Runs calls of functions of rows, one after the other."""
    own_loop: asyncio.AbstractEventLoop | None = None
    while (call := calls.take()) is not None:
        _pool.name = call.name
        try:
            rows = call.rows(call.fetch)
            if inspect.isawaitable(rows) or isinstance(rows, AsyncIterable):
                own_loop = own_loop or asyncio.new_event_loop()
                own_loop.run_until_complete(gather(call, rows))
            else:
                take(call, rows)
        except BaseException as error:
            fail(call, error)
        finally:
            _pool.name = None
        # A call that waits in `take` would keep what it has shown alive.
        rows = call = None
    if own_loop is not None:
        own_loop.close()


def take(call: Call, rows: Iterable[object]) -> None:
    each = iter(rows)
    try:
        for row in each:
            if not call.add(row):
                break
    finally:
        if (close := getattr(each, "close", None)) is not None:
            close()
    call.done()


async def gather(call: Call, rows: Any) -> None:
    if isinstance(rows, AsyncIterable):
        each = aiter(rows)
        try:
            async for row in each:
                if not call.add(row):
                    break
        finally:
            if (close := getattr(each, "aclose", None)) is not None:
                await close()
        call.done()
    else:
        take(call, await rows)


def fail(call: Call, error: BaseException) -> None:
    if call.is_wanted() and not isinstance(error, Invalid):
        logger.error("the rows of `%s` cannot be read", call.name, exc_info=error)
    call.fail(error)


def begin(loop: asyncio.AbstractEventLoop, call: Call) -> None:
    """Runs a call as a task of an event loop."""

    async def run() -> None:
        try:
            await gather(call, call.rows(call.fetch))
        except BaseException as error:
            fail(call, error)

    def start_task() -> None:
        if call.is_wanted():
            task = loop.create_task(run())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            call.runs_in(task)

    try:
        loop.call_soon_threadsafe(start_task)
    except RuntimeError as error:
        fail(call, error)


def give_up(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None] | None) -> None:
    if task is not None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(task.cancel)
