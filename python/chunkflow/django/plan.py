"""How the rows of one request are read."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any

from django.db import InterfaceError, OperationalError, close_old_connections, models, reset_queries
from django.http import HttpRequest
from django.urls import set_script_prefix, set_urlconf
from django.utils import timezone, translation

from chunkflow._native import Fetch, Source

from . import visible
from .asked import FORMATS
from .canonical import UnseenError
from .conf import conf
from .filters import Filters, narrowed
from .key import Growing, Here, version
from .order import Order
from .prefetches import fresh
from .routes import Routes
from .saying import warn_once
from .serializer import Links, Writer, writer
from .shape import shape_of
from .values import Key

log = logging.getLogger("chunkflow")

Row = tuple[Key, bytes] | tuple[Key, bytes, Sequence[tuple[int, Key]]]


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
        # The rows must be of this database wherever they are read.
        self.place = visible.Place.of(queryset.db)
        self.alias = self.place.alias
        self.given = queryset
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

    def own_key(self) -> Any:
        """What `CHUNKFLOW["KEY"]` says of the request."""
        function = conf().key
        return function(self.request) if function is not None else None

    def make(self, *, is_told: bool = False) -> None:
        """Works it all out. Asks no database, as a rule. `is_told` is whether the view says with
        `key=` what cannot be seen."""
        self.shape = shape_of(self.given, self.place, self.order, self.wanted_filters, self.here)
        for text in self.shape.keyset.warnings:
            warn_once(text, text)
        self.writer: Writer = writer(
            self.serialize,
            self.given,
            fields=self.fields,
            may_close_over=is_told,
            others=self.shape.models,
        )
        self.links = (
            Links(f"{self.request.scheme}://{self.request.get_host()}")
            if self.writer.uses_links
            else None
        )

    def is_of_thread(self) -> bool:
        """Whether the serializer reads what other threads than the request's may not have."""
        return self.writer.unseen is not None and self.writer.unseen.is_of_thread

    def has_memory(self) -> bool:
        """Whether a database may be in the memory of one connection, which no other thread has."""
        return any(visible.is_in_memory(alias) for alias in self.shape.aliases)

    def unasked(self) -> dict[visible.Place, list[str]]:
        """The tables and functions that the catalogues were not asked about, by database."""
        places = self._untold().values()
        found = {place: visible.unasked(place, self.shape.names) for place in places}
        return {place: names for place, names in found.items() if names}

    def _untold(self) -> dict[str, visible.Place]:
        """The databases whose connections are not told by `session=` what they see: it is told to
        that of the list's own rows."""
        untold = dict(self.places)
        if self.session:
            del untold[self.alias]
        return untold

    def ask(self) -> None:
        """Asks about them."""
        for place, names in self.unasked().items():
            visible.ask(place, names)

    @cached_property
    def places(self) -> dict[str, visible.Place]:
        """The databases that are read, by their aliases."""
        schema = None if self.schema is None else self.schema.text()
        found = {
            alias: self.place if alias == self.alias else visible.Place.of(alias)
            for alias in self.shape.aliases
        }
        return {alias: place._replace(schema=schema) for alias, place in sorted(found.items())}

    def version(self, extra: Sequence[Any], *, is_told: bool, is_empty: bool = False) -> bytes:
        """The digest of all that rows depend on. Raises `UnseenError`. An empty key says nothing of
        what a session decides."""
        if not conf().store:
            raise UnseenError("the cache keeps nothing", "set CHUNKFLOW['STORE']")
        unseen = self.shape.unseen or self.writer.unseen
        if unseen is not None and not is_told:
            raise unseen.again()
        if self.writer.unseen is not None and self.writer.unseen.is_of_thread:
            # The threads that read do not have it, with any key.
            raise self.writer.unseen.again()
        if not is_told or is_empty:
            for alias, place in self._untold().items():
                if alias in self.shape.by_session:
                    raise self.shape.by_session[alias].again()
                visible.check(place, self.shape.names)
        query = self.shape.query
        if _growing.sees(query):
            log.warning(
                "the list %s has a new key at each request, since its query holds the time: %s. "
                "Give a time that stays for a while, `timezone.now().replace(second=0, "
                "microsecond=0)`, or the database's, `django.db.models.functions.Now()`",
                self.name,
                query.sql,
            )
        return version(
            self.shape.digest,
            self.here,
            places=[self.places[self.alias], *self.places.values()],
            session=self.session,
            code=self.writer.digest,
            added=(
                *extra,
                self.routes.text() if self.routes else None,
                self.links.base if self.links else None,
                self.fields,
            ),
        )

    def source(
        self,
        made: bytes,
        *,
        is_cached: bool = True,
        rows: Callable[[Fetch], Iterable[Row]] | None = None,
    ) -> Source:
        """The list, for the library."""
        return Source(
            self.name,
            made,
            rows or self.rows_in_context,
            order=self.shape.order,
            columns=self.writer.columns,
            filters=self.shape.operands,
            ttl=self.ttl if is_cached else 0.0,
            stale=self.stale if is_cached else 0.0,
            envelope=self.envelope,
            follows=self.shape.followed.follows if is_cached else None,
            places=self.shape.places,
        )

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
        with self.routes.replayed(self.shape.aliases) if self.routes else nullcontext():
            yield from self._rows(fetch)

    def _rows(self, fetch: Fetch) -> Iterator[Row]:
        shape, conditions = self.shape, fetch.conditions
        found = shape.keyset.read(
            fetch.after,
            fetch.limit,
            lambda queryset: (
                narrowed(queryset, conditions, {**shape.keys, **shape.filters})
                if conditions
                else queryset
            ),
        )
        if shape.prefetched:
            models.prefetch_related_objects(found, *fresh(shape.prefetched))

        write = self.writer.begin(self.links)
        traced, keyset = shape.followed, shape.keyset
        for row in found:
            place = keyset.key(row)
            shown = traced.shown(row)
            text = write(keyset.bare(row))
            yield (place, text, shown) if shown else (place, text)


_growing = Growing()


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
