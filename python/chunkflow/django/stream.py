"""A queryset as a streamed list: the view in one line."""

from __future__ import annotations

import inspect
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.core import mail
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from chunkflow._native import Fetch, Reply

from . import probe, visible
from .asked import FORMATS, Asked
from .canonical import UnseenError, canonical
from .conf import aside, conf, flow
from .filters import Filters
from .order import Order
from .plan import Plan, Row
from .saying import say_uncached

SMALL = 128 << 10
"""A body that goes out as one piece under ASGI. A longer one is not copied for each client."""


async def stream(
    request: HttpRequest,
    queryset: models.QuerySet[Any],
    serialize: Any = None,
    *,
    order: Order = None,
    ttl: float = 300,
    stale: float = 3600,
    formats: Sequence[str] = tuple(FORMATS),
    format: str | None = None,  # noqa: A002
    envelope: str | None = "results",
    filters: Filters = (),
    fields: Sequence[str] | None = None,
    key: Any = None,
    session: Mapping[str, Any] | None = None,
    params: Iterable[str] = (),
    name: str | None = None,
) -> HttpResponseBase:
    """Answers a request with the rows of a queryset, from cached chunks.

    `serialize` is a function of a module, `def serialize(row)` or `def serialize(row, links)`,
    where `links(path)` is the absolute URL of a path; or a serializer class of Django REST
    framework; or nothing, for a queryset of `values()`. It never sees the request. Rows are
    written by it in other threads.

    `order` wins over the order of the queryset. `ttl` is how many seconds a chunk is fresh,
    `stale` how many more it is served while one load reads it again. `filters` are the fields that
    requests may filter by. `fields` are the members of every row, which CSV and `?select=` need.
    `params` are the query parameters that the view itself reads. `format` wins over `Accept`.

    `key` is what else the rows depend on. `session` are settings of PostgreSQL under which rows
    are read, `{"app.tenant": "1"}`.

    Raises `SerializerError` for a serializer and `OrderError` for an order that cannot be; each
    says what to do.
    """
    plan = Plan(
        request,
        queryset,
        serialize,
        order,
        ttl,
        stale,
        formats,
        envelope,
        filters,
        fields,
        session,
        name,
    )
    extra = [_plain(key, "`key`"), _plain(await _awaited(plan.own_key), "`CHUNKFLOW['KEY']`")]
    try:
        plan.make(is_told=key is not None)
    except SynchronousOnlyOperation:
        # Some backends ask their server for its version before they can write SQL.
        await sync_to_async(plan.make)(is_told=key is not None)
    if probe.takes(plan, key):
        return HttpResponse(status=204)
    if visible.has_tenants(plan.alias):
        plan.schema = await sync_to_async(visible.schema_of)(plan.alias)

    why = _in_tests()
    if (why is None and plan.has_memory()) or visible.may_be_open(plan.shape.aliases):
        # Only the thread in which the request's own queries run can say it.
        why = await sync_to_async(visible.open_here)(plan.alias, plan.shape.aliases, plan.session)
    if why is None and _is_empty(key) and plan.unasked():
        await sync_to_async(plan.ask)()

    asked = Asked.of(request, params, format, plan.formats)
    try:
        if why is not None:
            raise visible.BySessionError(why, "")
        source = plan.source(plan.version(extra, is_told=key is not None, is_empty=_is_empty(key)))
        reply = await flow().open(
            source, asked.newest, asked.headers, method=asked.method, format=asked.format
        )
        if reply.status == 503 and asked.newest != asked.target:
            # The change may be lost, and the client has not asked for it by itself.
            reply = await flow().open(
                source, asked.target, asked.headers, method=asked.method, format=asked.format
            )
    except visible.BySessionError as error:
        say_uncached(error, plan.name)
        return await sync_to_async(_read_here)(request, plan, asked)
    except UnseenError as error:
        say_uncached(error, plan.name)
        if plan.is_of_thread():
            return await sync_to_async(_read_here)(request, plan, asked)
        source = plan.source(os.urandom(16), is_cached=False)
        reply = await aside().open(
            source, asked.aside, asked.headers, method=asked.method, format=asked.format
        )
    return _response(request, reply)


def stream_sync(
    request: HttpRequest,
    queryset: models.QuerySet[Any],
    serialize: Any = None,
    *,
    order: Order = None,
    ttl: float = 300,
    stale: float = 3600,
    formats: Sequence[str] = tuple(FORMATS),
    format: str | None = None,  # noqa: A002
    envelope: str | None = "results",
    filters: Filters = (),
    fields: Sequence[str] | None = None,
    key: Any = None,
    session: Mapping[str, Any] | None = None,
    params: Iterable[str] = (),
    name: str | None = None,
) -> HttpResponseBase:
    """As `stream`, for a view that is a plain function."""
    plan = Plan(
        request,
        queryset,
        serialize,
        order,
        ttl,
        stale,
        formats,
        envelope,
        filters,
        fields,
        session,
        name,
    )
    extra = [_plain(key, "`key`"), _plain(plan.own_key(), "`CHUNKFLOW['KEY']`")]
    plan.make(is_told=key is not None)
    if probe.takes(plan, key):
        return HttpResponse(status=204)
    if visible.has_tenants(plan.alias):
        plan.schema = visible.schema_of(plan.alias)

    why = _in_tests() or visible.open_here(plan.alias, plan.shape.aliases, plan.session)
    if why is None and _is_empty(key) and plan.unasked():
        plan.ask()

    asked = Asked.of(request, params, format, plan.formats)
    try:
        if why is not None:
            raise visible.BySessionError(why, "")
        source = plan.source(plan.version(extra, is_told=key is not None, is_empty=_is_empty(key)))
        reply = flow().open_sync(
            source, asked.newest, asked.headers, method=asked.method, format=asked.format
        )
        if reply.status == 503 and asked.newest != asked.target:
            # The change may be lost, and the client has not asked for it by itself.
            reply = flow().open_sync(
                source, asked.target, asked.headers, method=asked.method, format=asked.format
            )
    except visible.BySessionError as error:
        say_uncached(error, plan.name)
        return _read_here(request, plan, asked)
    except UnseenError as error:
        say_uncached(error, plan.name)
        if plan.is_of_thread():
            return _read_here(request, plan, asked)
        source = plan.source(os.urandom(16), is_cached=False)
        reply = aside().open_sync(
            source, asked.aside, asked.headers, method=asked.method, format=asked.format
        )
    return _response(request, reply)


def _read_here(request: HttpRequest, plan: Plan, asked: Asked) -> HttpResponseBase:
    """The same answer from rows that are read in this thread, on its connection. Nothing is
    cached; the whole body is in memory, since the transaction may end with the view."""
    calls: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def rows(fetch: Fetch) -> list[Row]:
        asked_for: Future[list[Row]] = Future()
        calls.put((fetch, asked_for))
        return asked_for.result()

    def drive() -> None:
        try:
            source = plan.source(os.urandom(16), is_cached=False, rows=rows)
            reply = aside().open_sync(
                source, asked.aside, asked.headers, method=asked.method, format=asked.format
            )
            calls.put((reply, b"".join(reply)))
        except BaseException as error:
            calls.put((None, error))

    driver = threading.Thread(target=drive, name="chunkflow-here", daemon=True)
    driver.start()
    failed: BaseException | None = None
    while True:
        first, second = calls.get()
        if not isinstance(second, Future):
            break
        try:
            with visible.told(plan.alias, None, plan.session):
                second.set_result(list(plan.rows(first)))
        except BaseException as error:
            # The transaction is broken, and the view must know it.
            failed = failed or error
            second.set_exception(error)
    driver.join()
    if failed is not None:
        raise failed
    if first is None:
        raise second
    return _whole(first, second)


def _response(request: HttpRequest, reply: Reply) -> HttpResponseBase:
    is_async = isinstance(request, ASGIRequest)
    if reply.length is not None and (not is_async or reply.length <= SMALL):
        return _whole(reply, b"".join(reply))
    body: Any = _Async(reply) if is_async else reply
    return _headed(StreamingHttpResponse(body, status=reply.status), reply)


def _whole(reply: Reply, body: bytes) -> HttpResponse:
    response = cast(HttpResponse, _headed(HttpResponse(body, status=reply.status), reply))
    if reply.is_stream and body:
        response.headers["Content-Length"] = str(len(body))
    return response


def _headed(response: HttpResponseBase, reply: Reply) -> HttpResponseBase:
    del response.headers["Content-Type"]
    for name, value in reply.headers:
        before = response.headers.get(name)
        response.headers[name] = value if before is None else f"{before}, {value}"
    return response


class _Async:
    """A reply that Django does not take for a plain iterator."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._reply.__aiter__()

    def close(self) -> None:
        self._reply.close()


async def _awaited(function: Callable[[], Any]) -> Any:
    try:
        value = function()
    except SynchronousOnlyOperation:
        value = await sync_to_async(function)()
    return await value if inspect.isawaitable(value) else value


def _plain(key: Any, name: str) -> Any:
    """A key. Raises `TypeError` for one that cannot be told from others."""
    try:
        canonical(key)
    except UnseenError as error:
        raise TypeError(
            f"{name} cannot be told from others: {error.what}; give plain values, "
            "`key=(request.user.pk, request.site.pk)`"
        ) from error
    return key


def _is_empty(key: Any) -> bool:
    """Whether a key says nothing, as the empty text of a request without a user does."""
    if isinstance(key, tuple | list):
        return all(_is_empty(one) for one in key)
    return not key


def _in_tests() -> str | None:
    """Whether tests run: each begins with other rows, and nobody tells of it."""
    return "tests" if hasattr(mail, "outbox") and not conf().cache_in_tests else None


__all__ = ["FORMATS", "stream", "stream_sync"]
