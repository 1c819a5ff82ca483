"""What is worked out of a queryset: how its rows are read, and what they depend on.

Compiling a query and walking through its prefetches costs more than sending a warm list. So it is
remembered, by the bytes of the queryset (see `picture`), for the next request that makes the same
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, cached_property
from typing import Any

from django.apps import apps
from django.core.signals import setting_changed
from django.db import models
from django.db.models import F

from . import visible
from .canonical import UnseenError, digest
from .compiled import Query, query_of
from .filters import Filter, Filters, Operand, filters_of
from .follows import Followed, followed, times_read, unselected
from .key import Here, prefetch_parts
from .known import has_known_compiler
from .order import PREFIX, Keyset, Order
from .picture import copies, picture
from .prefetches import Answered, Prefetched, explicit
from .recent import Recent
from .values import primary
from .visible import Place


class Shape:
    """A queryset in an order, with the filters that requests may add."""

    def __init__(self, queryset: models.QuerySet[Any], order: Order, wanted: Filters) -> None:
        self.keyset = Keyset(queryset, order)
        self.queryset = self.keyset.queryset
        held: Any = queryset
        self.asked: list[Answered] = []
        self.unseen: UnseenError | None = None
        try:
            self.prefetched = explicit(queryset, self.asked)
        except UnseenError as error:
            self.unseen = error.again()
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
        self.prefetch_parts, queries, tables = prefetch_parts(self.prefetched)
        self.tables = set(self.query.tables) | tables
        self.filtered = self._filtered(queryset)
        self.deciding = self._deciding(queryset)

        # All that is asked for the list: what holds of one of them holds of it.
        self.queries = [self.query, *queries, *self.filtered]
        self.aliases = {query.using for query in self.queries}
        functions = (visible.functions_of(query.sql) for query in self.queries)
        self.names = self.tables.union(self.deciding, *functions)
        self.unseen = self.unseen or self._own_reading()

    def _own_reading(self) -> UnseenError | None:
        for query in self.queries:
            if query.own_reading is not None:
                return UnseenError(
                    f"`{query.own_reading}` reads rows in its own way",
                    "pass `key=` with all that it depends on",
                )
        return None

    def _filtered(self, queryset: models.QuerySet[Any]) -> list[Query]:
        """What each filter compares with, as a query that selects it: it may be seen nowhere else,
        such as the condition of an alias."""
        bare = queryset.order_by()
        name = f"{PREFIX}filter"
        shown = [bare.annotate(**{name: F(one.path)}) for one in self.filters.values()]
        return [query_of(one.values(name)) for one in shown]

    def _deciding(self, queryset: models.QuerySet[Any]) -> frozenset[str]:
        """The tables of the query where requests filter by all that they may."""
        # What is only selected decides nothing.
        bare = unselected(queryset).order_by()
        narrow = [bare.filter(**{f"{one.path}__isnull": False}) for one in self.filters.values()]
        own = queryset.model._meta.db_table
        found = frozenset().union(*(query_of(one).tables for one in narrow)) - {own}
        if any(times_read(one, own) > 1 for one in narrow):
            found |= {own}
        return found

    @cached_property
    def digest(self) -> bytes:
        """All of it that rows depend on. Raises `UnseenError`."""
        return digest(
            self.query.parts(),
            self.prefetch_parts,
            [
                (one.name, one.path, query.parts())
                for one, query in zip(self.filters.values(), self.filtered, strict=True)
            ],
            [
                (column.name, column.path, column.descending, column.nulls_first)
                for column in self.keyset.columns
            ],
        )

    @cached_property
    def by_session(self) -> dict[str, visible.BySessionError]:
        """Why a session decides which rows the queries give, by the aliases where it does."""
        found: dict[str, visible.BySessionError] = {}
        for query in self.queries:
            try:
                visible.check_sql(query.sql)
            except visible.BySessionError as error:
                found[query.using] = visible.BySessionError(error.what, error.remedy)
        return found

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
        columns = [(column.path, column.is_own) for column in self.keyset.columns]
        asked = (self.query.sql, self.query.shape[2], _texts(self.prefetch_parts), columns)
        named = digest(*asked, repr(self.queryset.query.select_related), sorted(self.deciding))
        place = (self.queryset.model, self.queryset.db, named)
        found = _followed.get(place)
        if found is None:
            found = followed(
                self.queryset, self.keyset, self.prefetched, self.tables, self.deciding
            )
            _followed.put(place, found)
        return found

    @cached_property
    def is_known(self) -> bool:
        """Whether the same queryset is always read so: nothing but Django's own code writes its
        SQL."""
        known = all(query.is_known for query in self.queries)
        return known and all(map(has_known_compiler, self.aliases))


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

    # What the answers so far lead to: one more question, or the shape.
    answers: tuple[Any, ...] = ()
    while (found := _known.get((drawn, answers))) is not None:
        if isinstance(found, Shape):
            return found
        answers = (*answers, found())

    try:
        # Of copies, which the request does not hold.
        copy, copied_order, copied_wanted, *_ = copies(drawn)
        made = Shape(copy.using(place.alias), copied_order, copied_wanted)
    except Exception:
        # It is said of the queryset itself.
        return Shape(queryset.using(place.alias), order, wanted)
    if made.is_known:
        _remember(drawn, made)
    return made


def _remember(drawn: bytes, made: Shape) -> None:
    if any(answer is None for _, answer in made.asked):
        return
    # What managers say comes with its length.
    lengths = [answer[0] for _, answer in made.asked if isinstance(answer, tuple)]
    if len(drawn) + sum(lengths) > LONGEST:
        return
    asked = [*made.asked, _names_asked(made.tables)]
    answers: tuple[Any, ...] = ()
    for question, answer in asked:
        _known.put((drawn, answers), question)
        answers = (*answers, answer)
    _known.put((drawn, answers), made)


def _names_asked(tables: Iterable[str]) -> Answered:
    """The names of tables and the usual orders, which some programs change for a request."""
    models_ = [one for table in tables for one in _models().get(table, ())]

    def question() -> Any:
        return tuple((one._meta.db_table, *one._meta.ordering) for one in models_)

    return question, question()


MOST = 1_000
"""Steps to querysets that are remembered: twice as many at most. A queryset takes two, or more if
managers or routers are asked. So there are at most 1,000, usually of 11 to 17 KB."""

LONGEST = 4 << 10
"""Bytes of a queryset that is remembered, with what its managers say. Most have 1,000 to 2,000. One
with a thousand keys has so many, and what is worked out of it about 70 KB."""

_known: Recent[tuple[bytes, tuple[Any, ...]], Any] = Recent(MOST)
_followed: Recent[Any, Followed] = Recent(2 * MOST)


@cache
def _models() -> dict[str, list[Any]]:
    """The models by their tables."""
    found: dict[str, list[Any]] = {}
    for one in apps.get_models(include_auto_created=True):
        found.setdefault(one._meta.db_table, []).append(one)
    return found


def _texts(parts: Sequence[Any]) -> tuple[Any, ...]:
    """The SQL of prefetches, and of theirs."""
    return tuple(
        (*one[:3], one[3][0], _texts(one[4])) if len(one) > 4 else tuple(one) for one in parts
    )


def forget(**_: Any) -> None:
    """Works all out anew, after a setting has changed (in tests)."""
    _known.clear()
    _followed.clear()
    _models.cache_clear()


setting_changed.connect(forget, dispatch_uid="chunkflow.django.shape")
