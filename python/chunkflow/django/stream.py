"""A queryset as a streamed list: the view in one line."""

from __future__ import annotations

import contextvars
import inspect
import logging
import os
import queue
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote_plus

from asgiref.sync import sync_to_async
from django.core import mail
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import InterfaceError, OperationalError, close_old_connections, models, reset_queries
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import set_script_prefix, set_urlconf
from django.utils import timezone, translation

from chunkflow._native import Fetch, Reply, Source

from . import probe, visible
from .canonical import UnseenError, canonical, digest
from .conf import aside, conf, flow
from .filters import Filter, Filters, filters_of, narrowed
from .follows import Followed, followed, times_read, unselected
from .key import Growing, Here, Query, prefetch_parts, query_of, version
from .order import Keyset, Order
from .prefetches import Prefetched, explicit, fresh
from .routes import Routes
from .serializer import Links, Writer, writer
from .values import Key, primary

log = logging.getLogger("chunkflow")

FORMATS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "sse": "text/event-stream",
}
"""The formats, with their media types."""

SMALL = 64 << 10
"""A body that goes out as one piece under ASGI. A longer one is not copied for each client."""

Row = tuple[Key, bytes] | tuple[Key, bytes, Sequence[tuple[int, Key]]]


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
    if (why is None and plan.has_memory()) or visible.may_be_open(plan.aliases):
        # Only the thread in which the request's own queries run can say it.
        why = await sync_to_async(visible.open_here)(plan.aliases, plan.session)
    if why is None and _is_empty(key) and plan.unasked():
        await sync_to_async(plan.ask)()

    asked = _Asked.of(request, params, format, plan.formats)
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
        _say(error, plan)
        return await sync_to_async(_read_here)(request, plan, asked)
    except UnseenError as error:
        _say(error, plan)
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

    why = _in_tests() or visible.open_here(plan.aliases, plan.session)
    if why is None and _is_empty(key) and plan.unasked():
        plan.ask()

    asked = _Asked.of(request, params, format, plan.formats)
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
        _say(error, plan)
        return _read_here(request, plan, asked)
    except UnseenError as error:
        _say(error, plan)
        if plan.is_of_thread():
            return _read_here(request, plan, asked)
        source = plan.source(os.urandom(16), is_cached=False)
        reply = aside().open_sync(
            source, asked.aside, asked.headers, method=asked.method, format=asked.format
        )
    return _response(request, reply)


class Plan:
    """How the rows of one request are read."""

    def __init__(
        self,
        request: HttpRequest,
        queryset: models.QuerySet[Any],
        serialize: Any,
        order: Order,
        ttl: float,
        stale: float,
        formats: Sequence[str],
        envelope: str | None,
        filters: Filters,
        fields: Sequence[str] | None,
        session: Mapping[str, Any] | None,
        name: str | None,
    ) -> None:
        if not isinstance(queryset, models.QuerySet):
            kind = type(queryset).__name__
            raise TypeError(f"`queryset` is a {kind}; give a QuerySet, `Trick.objects.all()`")
        for one in formats:
            if one not in FORMATS:
                raise ValueError(f"there is no format `{one}`; there are {', '.join(FORMATS)}")
        self.request = request
        self.alias = queryset.db
        # The rows must be of this database wherever they are read.
        self.given = queryset.using(self.alias)
        self.serialize = serialize
        self.order = order
        self.ttl = ttl
        self.stale = stale
        self.formats = tuple(formats)
        self.envelope = envelope
        self.wanted_filters = filters
        self.fields = fields
        self.session = {str(name): str(value) for name, value in (session or {}).items()}
        self.name = name or queryset.model._meta.label_lower
        self.routes = Routes.now(queryset.model, self.alias)
        self.here = Here.now()
        self.context = contextvars.copy_context()
        self.schema: visible.Schema | None = None
        self.unseen: UnseenError | None = None

    def own_key(self) -> Any:
        """What `CHUNKFLOW["KEY"]` says of the request."""
        function = conf().key
        return function(self.request) if function is not None else None

    def make(self, *, is_told: bool = False) -> None:
        """Works it all out. Asks no database, as a rule. `is_told` is whether the view says with
        `key=` what cannot be seen."""
        self.keyset = Keyset(self.given, self.order)
        _warn(self.keyset.warnings)
        try:
            self.prefetched = explicit(self.given)
        except UnseenError as error:
            self.unseen = error
            self.prefetched = [
                Prefetched(
                    one if isinstance(one, models.Prefetch) else models.Prefetch(one),
                    None,
                    "",
                    False,
                )
                for one in self.given._prefetch_related_lookups
            ]
        self.filters: dict[str, Filter] = filters_of(self.given, self.wanted_filters)
        # By its key the library asks whether the list has a row that has changed.
        key = primary(self.given.model)
        self.keys = {field.column: Filter(field.column, field.attname, field) for field in key}
        for name in self.keys.keys() & self.filters.keys():
            if self.filters[name].field != self.keys[name].field:
                raise ValueError(
                    f"the filter `{name}` has the name of the key's column, and is another one; "
                    "give it another name"
                )
        models_seen = [
            self.given.model,
            *(one.step.model for one in self.prefetched if one.step is not None),
        ]
        self.writer: Writer = writer(
            self.serialize,
            self.given,
            fields=self.fields,
            may_close_over=is_told,
            others=tuple(dict.fromkeys(models_seen)),
        )
        self.unseen = self.unseen or self.writer.unseen
        self.links = (
            Links(f"{self.request.scheme}://{self.request.get_host()}")
            if self.writer.uses_links
            else None
        )
        self.query: Query = query_of(self.keyset.queryset)
        self.aliases = {
            self.alias,
            *(one.queryset.db for one in self.prefetched if one.queryset is not None),
        }
        try:
            self.prefetch_parts, tables = prefetch_parts(self.prefetched)
        except UnseenError as error:
            self.unseen = error
            self.prefetch_parts, tables = [], set()
        self.tables = set(self.query.tables) | tables
        self.queryset = self.keyset.queryset
        self.deciding = self._deciding()
        self.names = self.tables | self.deciding | visible.functions_of(self.query.sql)

    def _deciding(self) -> frozenset[str]:
        """The tables of the query where requests filter by all that they may."""
        paths = tuple(one.path for one in self.filters.values())
        if not paths:
            return frozenset()
        place = (self.given.model, self.alias, self.query.sql, paths)
        found = _filtered.get(place)
        if found is None:
            if len(_filtered) >= MOST_SHAPES:
                _filtered.clear()
            # What is only selected decides nothing.
            bare = unselected(self.given).order_by()
            narrow = [bare.filter(**{f"{path}__isnull": False}) for path in paths]
            own = self.given.model._meta.db_table
            found = frozenset().union(*(query_of(one).tables for one in narrow)) - {own}
            if any(times_read(one, own) > 1 for one in narrow):
                found |= {own}
            _filtered[place] = found
        return found

    def is_of_thread(self) -> bool:
        """Whether the serializer reads what other threads than the request's may not have."""
        return self.writer.unseen is not None and self.writer.unseen.is_of_thread

    def has_memory(self) -> bool:
        """Whether a database may be in the memory of one connection, which no other thread has."""
        return any(visible.is_in_memory(alias) for alias in self.aliases)

    def unasked(self) -> dict[str, list[str]]:
        """The tables and functions that the catalogues were not asked about, by alias."""
        if self.session:
            return {}
        found = {
            alias: visible.unasked(alias, self._schema(), self.names) for alias in self.aliases
        }
        return {alias: names for alias, names in found.items() if names}

    def ask(self) -> None:
        """Asks about them."""
        for alias, names in self.unasked().items():
            visible.ask(alias, self._schema(), names)

    def _schema(self) -> str | None:
        return None if self.schema is None else self.schema.text()

    def version(self, extra: Sequence[Any], *, is_told: bool, is_empty: bool = False) -> bytes:
        """The digest of all that rows depend on. Raises `UnseenError`. An empty key says nothing of
        what a session decides."""
        if not conf().store:
            raise UnseenError("the cache keeps nothing", "set CHUNKFLOW['STORE']")
        if self.unseen is not None and not is_told:
            raise self.unseen
        if self.writer.unseen is not None and self.writer.unseen.is_of_thread:
            # The threads that read do not have it, with any key.
            raise self.writer.unseen
        if not self.session and (not is_told or is_empty):
            visible.check_sql(self.query.sql)
            for alias in self.aliases:
                visible.check(alias, self._schema(), self.names)
        if _growing.sees(self.query):
            log.warning(
                "the list %s has a new key at each request, since its query holds the time: %s. "
                "Give a time that stays for a while, `timezone.now().replace(second=0, "
                "microsecond=0)`, or the database's, `django.db.models.functions.Now()`",
                self.name,
                self.query.sql,
            )
        added = (
            *extra,
            self.routes.text() if self.routes else None,
            self.links.base if self.links else None,
            self.fields,
            [(one.name, one.path) for one in self.filters.values()],
            [
                (column.name, column.path, column.descending, column.nulls_first)
                for column in self.keyset.columns
            ],
        )
        return version(
            self.query,
            self.prefetch_parts,
            self.here,
            schema=self._schema(),
            session=self.session,
            code=self.writer.digest,
            added=added,
        )

    def source(
        self,
        made: bytes,
        *,
        is_cached: bool = True,
        rows: Callable[[Fetch], Iterable[Row]] | None = None,
    ) -> Source:
        """The list, for the library."""
        found = self.followed() if is_cached else None
        return Source(
            self.name,
            made,
            rows or self.rows_in_context,
            order=self.keyset.names(),
            columns=self.writer.columns,
            filters=[(one.name, one.operand) for one in self.filters.values()],
            ttl=self.ttl if is_cached else 0.0,
            stale=self.stale if is_cached else 0.0,
            envelope=self.envelope,
            follows=found.follows if found is not None else None,
            places=self.places(),
        )

    def places(self) -> bytes:
        """What a cursor's values mean: with another language or after a deployment the same."""
        columns = [
            (one.path, one.descending, one.nulls_first, type(one.field).__name__)
            for one in self.keyset.columns
        ]
        return digest("django places 1", self.alias, self.given.model._meta.db_table, columns)

    def followed(self) -> Followed:
        """Which tables the rows come from. Values that a query compares with make no difference,
        so it is worked out once for each text of SQL."""
        texts = _texts(self.prefetch_parts)
        columns = tuple((column.path, column.is_own) for column in self.keyset.columns)
        shape = (self.given.model, self.alias, self.query.sql, self.query.shape[2], texts, columns)
        place = (*shape, repr(self.given.query.select_related), self.deciding)
        # Other threads may clear it meanwhile.
        found = _followed.get(place)
        if found is None:
            if len(_followed) >= MOST_SHAPES:
                _followed.clear()
            found = followed(
                self.queryset, self.keyset, self.prefetched, self.tables, self.deciding
            )
            _followed[place] = found
        return found

    def rows_in_context(self, fetch: Fetch) -> Iterator[Row]:
        """Rows of a thread of the pool, with the context variables of the request."""
        # Two threads cannot be in one context.
        context = self.context.copy()
        rows = self.rows_in_pool(fetch)
        try:
            while (row := context.run(next, rows, None)) is not None:
                yield row
        finally:
            context.run(rows.close)

    def rows_in_pool(self, fetch: Fetch) -> Generator[Row, None, None]:
        """Rows, read in a thread of the pool, in which nothing is known of any request. Those that
        nobody waits for any more are not written."""
        reset_queries()
        close_old_connections()
        try:
            with _entered(self.here), visible.told(self.alias, self.schema, self.session):
                yield from self.rows(fetch)
        except (OperationalError, InterfaceError) as error:
            # It is answered with 503 in place of 500.
            raise ConnectionError(f"the database `{self.alias}` failed: {error}") from error
        finally:
            close_old_connections()

    def rows(self, fetch: Fetch) -> Iterator[Row]:
        """Rows, read on this thread's connection."""
        with self.routes.replayed(self.aliases) if self.routes else nullcontext():
            yield from self._rows(fetch)

    def _rows(self, fetch: Fetch) -> Iterator[Row]:
        conditions = fetch.conditions
        found = self.keyset.read(
            fetch.after,
            fetch.limit,
            lambda queryset: (
                narrowed(queryset, conditions, {**self.keys, **self.filters})
                if conditions
                else queryset
            ),
        )
        if self.prefetched:
            models.prefetch_related_objects(found, *fresh(self.prefetched))

        write = self.writer.begin(self.links)
        traced = self.followed()
        keyset = self.keyset
        for row in found:
            place = keyset.key(row)
            shown = traced.shown(row)
            text = write(keyset.bare(row))
            yield (place, text, shown) if shown else (place, text)


_growing = Growing()

MOST_SHAPES = 1_000
"""Lists of which is remembered what they follow."""

_followed: dict[Any, Followed] = {}
_filtered: dict[Any, frozenset[str]] = {}


def _texts(parts: Sequence[Any]) -> tuple[Any, ...]:
    """The SQL of prefetches, and of theirs."""
    return tuple(
        (one[1], one[3][0], _texts(one[4])) if len(one) > 4 else (one[1],) for one in parts
    )


class _Asked(NamedTuple):
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
    ) -> _Asked:
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
        return _Asked(target, newest, uncached, headers, request.method or "GET", named)


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


@contextmanager
def _entered(here: Here) -> Iterator[None]:
    """This thread, as the thread of the request was."""
    with translation.override(here.language), timezone.override(here.zone):
        set_urlconf(here.urlconf)
        set_script_prefix(here.script)
        try:
            yield
        finally:
            set_urlconf(None)


def _read_here(request: HttpRequest, plan: Plan, asked: _Asked) -> HttpResponseBase:
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


MOST_SAID = 1_000
"""Warnings of a process. Names of lists that are made for each request would fill the log."""

_said: set[Any] = set()


def _warn(texts: Iterable[str]) -> None:
    for text in texts:
        _warn_once(text, text)


def _warn_once(what: Any, text: str) -> None:
    if what in _said or len(_said) >= MOST_SAID:
        return
    _said.add(what)
    log.warning("%s", text)
    if len(_said) == MOST_SAID:
        log.warning("no more is said of lists that are not cached")


def _say(error: UnseenError, plan: Plan) -> None:
    """Says once for each list and kind of cause why it is not cached."""
    if error.what == "tests":
        return
    if error.what == "transaction":
        _warn_once(
            (plan.name, "transaction"),
            f"the list {plan.name} is not cached in an open transaction, and is held in memory as a "
            "whole; if the transaction is that of ATOMIC_REQUESTS, decorate the view with "
            "@transaction.non_atomic_requests",
        )
        return
    remedy = f"; {error.remedy}" if error.remedy else ""
    # The cause itself may hold a statement, which may be another for each request.
    _warn_once(
        (plan.name, type(error).__name__, error.remedy),
        f"the list {plan.name} is not cached: {error.what}{remedy}",
    )


__all__ = ["FORMATS", "stream", "stream_sync"]
