"""What is worked out of a queryset: how its rows are read, and what they depend on.

Compiling a query and walking through its prefetches costs more than sending a warm list. So it is
remembered, by the bytes of the queryset (see `picture`), for the next request that makes the same
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property, partial
from typing import Any

from django.apps import apps
from django.core.signals import setting_changed
from django.db import models

from . import visible
from .canonical import UnseenError, digest
from .filters import Filter, Filters, Operand, filters_of
from .follows import Followed, followed, times_read, unselected
from .key import Here, Query, prefetch_parts, query_of
from .order import Keyset, Order
from .picture import copies, has_known_compiler, has_known_sql, picture
from .prefetches import Prefetched, Question, explicit
from .recent import Recent
from .values import primary
from .visible import Place


class Shape:
    """A queryset in an order, with the filters that requests may add."""

    def __init__(self, queryset: models.QuerySet[Any], order: Order, wanted: Filters) -> None:
        self.keyset = Keyset(queryset, order)
        self.queryset = self.keyset.queryset
        held: Any = queryset
        self.asked: list[Question] = []
        self.unseen: UnseenError | None = None
        try:
            self.prefetched = explicit(queryset, self.asked)
        except UnseenError as error:
            self.unseen = error
            self.prefetched = [
                Prefetched(
                    one if isinstance(one, models.Prefetch) else models.Prefetch(one),
                    None,
                    "",
                    False,
                )
                for one in held._prefetch_related_lookups
            ]

        self.filters: dict[str, Filter] = filters_of(queryset, wanted)
        # By its key the library asks whether the list has a row that has changed.
        key = primary(queryset.model)
        self.keys = {field.column: Filter(field.column, field.attname, field) for field in key}
        for name in self.keys.keys() & self.filters.keys():
            if self.filters[name].field != self.keys[name].field:
                raise ValueError(
                    f"the filter `{name}` has the name of the key's column, and is another one; "
                    "give it another name"
                )

        related = [one.step.model for one in self.prefetched if one.step is not None]
        self.models = tuple(dict.fromkeys([queryset.model, *related]))
        self.query: Query = query_of(self.queryset)
        self.aliases = {
            queryset.db,
            *(one.queryset.db for one in self.prefetched if one.queryset is not None),
        }
        try:
            self.prefetch_parts, tables = prefetch_parts(self.prefetched)
        except UnseenError as error:
            self.unseen = error
            self.prefetch_parts, tables = [], set()
        self.tables = set(self.query.tables) | tables
        self.deciding = self._deciding(queryset)
        self.names = self.tables | self.deciding | visible.functions_of(self.query.sql)

    @cached_property
    def digest(self) -> bytes:
        """All of it that rows depend on. Raises `UnseenError`."""
        return digest(
            self.query.parts(),
            self.prefetch_parts,
            [(one.name, one.path) for one in self.filters.values()],
            [
                (column.name, column.path, column.descending, column.nulls_first)
                for column in self.keyset.columns
            ],
        )

    @cached_property
    def by_session(self) -> visible.BySessionError | None:
        """Why a session decides which rows the query gives, if so."""
        try:
            visible.check_sql(self.query.sql)
        except visible.BySessionError as error:
            return error
        return None

    @cached_property
    def places(self) -> bytes:
        """What a cursor's values mean: with another language or after a deployment the same."""
        columns = [
            (one.path, one.descending, one.nulls_first, type(one.field).__name__)
            for one in self.keyset.columns
        ]
        return digest(
            "django places 1", self.queryset.db, self.queryset.model._meta.db_table, columns
        )

    @cached_property
    def order(self) -> list[str]:
        """The columns of the order, for the library."""
        return self.keyset.names()

    @cached_property
    def operands(self) -> list[tuple[str, Operand]]:
        """The filters and the syntax of their values, for the library."""
        return [(one.name, one.operand) for one in self.filters.values()]

    @cached_property
    def followed(self) -> Followed:
        """Which tables the rows come from. Values that a query compares with make no difference,
        so it is worked out once for each text of SQL."""
        texts = _texts(self.prefetch_parts)
        columns = tuple((column.path, column.is_own) for column in self.keyset.columns)
        asked = (self.queryset.model, self.queryset.db, self.query.sql, self.query.shape[2])
        place = (
            *asked,
            texts,
            columns,
            repr(self.queryset.query.select_related),
            self.deciding,
        )
        found = _followed.get(place)
        if found is None:
            found = followed(
                self.queryset, self.keyset, self.prefetched, self.tables, self.deciding
            )
            _followed.put(place, found)
        return found

    def _deciding(self, queryset: models.QuerySet[Any]) -> frozenset[str]:
        """The tables of the query where requests filter by all that they may."""
        paths = tuple(one.path for one in self.filters.values())
        if not paths:
            return frozenset()
        place = (self.queryset.model, self.queryset.db, self.query.sql, paths)
        found = _filtered.get(place)
        if found is None:
            # What is only selected decides nothing.
            bare = unselected(queryset).order_by()
            narrow = [bare.filter(**{f"{path}__isnull": False}) for path in paths]
            own = self.queryset.model._meta.db_table
            found = frozenset().union(*(query_of(one).tables for one in narrow)) - {own}
            if any(times_read(one, own) > 1 for one in narrow):
                found |= {own}
            _filtered.put(place, found)
        return found

    @cached_property
    def is_known(self) -> bool:
        """Whether the same queryset is always read so: nothing but Django's own code writes its
        SQL."""
        known = _models()
        return all(map(has_known_compiler, self.aliases)) and all(
            table in known and has_known_sql(known[table]) for table in self.tables
        )


def shape_of(
    queryset: models.QuerySet[Any], place: Place, order: Order, wanted: Filters, here: Here
) -> Shape:
    """What is worked out of a queryset in a database. A lazy text in it depends on the request's
    language, and a date on its time zone."""
    try:
        drawn = picture(queryset, order, wanted, *place, here.parts)
    except UnseenError:
        drawn = None
    if drawn is None or len(drawn) > LONGEST:
        return Shape(queryset.using(place.alias), order, wanted)

    asked = _asked.get(drawn)
    if asked is not None:
        answers = tuple(ask() for ask in asked)
        found = _shapes.get((drawn, answers)) if None not in answers else None
        if found is not None:
            return found

    # Of copies, which the request does not hold.
    copied = copies(drawn)
    if copied is None:
        return Shape(queryset.using(place.alias), order, wanted)
    copy, order, wanted, *_ = copied
    made = Shape(copy.using(place.alias), order, wanted)
    if made.is_known:
        asked = [*made.asked, partial(_names, [_models()[table] for table in made.tables])]
        answers = tuple(ask() for ask in asked)
        if None not in answers:
            _asked.put(drawn, asked)
            _shapes.put((drawn, answers), made)
    return made


MOST = 500
"""Querysets of which is remembered how they are read: twice as many at most, about 17 KB each."""

LONGEST = 16 << 10
"""Bytes of a queryset that is remembered. Most have about 1,000, and one of thousands of keys has
more."""

_shapes: Recent[tuple[bytes, tuple[Any, ...]], Shape] = Recent(MOST)
_asked: Recent[bytes, list[Question]] = Recent(MOST)
_followed: Recent[Any, Followed] = Recent(4 * MOST)
_filtered: Recent[Any, frozenset[str]] = Recent(4 * MOST)


@cache
def _models() -> dict[str, type[models.Model]]:
    """The models by their tables."""
    found = apps.get_models(include_auto_created=True)
    return {one._meta.db_table: one for one in found}


def _names(models_: Sequence[Any]) -> tuple[str, ...]:
    """The names of tables, which some programs change for a request."""
    return tuple(one._meta.db_table for one in models_)


def _texts(parts: Sequence[Any]) -> tuple[Any, ...]:
    """The SQL of prefetches, and of theirs."""
    return tuple(
        (one[1], one[3][0], _texts(one[4])) if len(one) > 4 else (one[1],) for one in parts
    )


def forget(**_: Any) -> None:
    """Works all out anew, after a setting has changed (in tests)."""
    for one in (_shapes, _asked, _followed, _filtered):
        one.clear()
    _models.cache_clear()


setting_changed.connect(forget, dispatch_uid="chunkflow.django.shape")
