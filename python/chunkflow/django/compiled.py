"""A queryset as SQL."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models import sql

from .canonical import UnseenError, canonical
from .known import QUERYSET_STATE, is_djangos, is_known_node, own_reading
from .order import is_values
from .recent import Recent
from .visible import tables_of


@dataclass(frozen=True)
class Query:
    """A queryset as the database would be asked."""

    sql: str
    params: tuple[Any, ...]
    tables: frozenset[str]
    shape: tuple[Any, ...]
    """What SQL does not say: the model, the form of rows, the types of annotations."""
    using: str
    """The alias of its database."""
    is_known: bool
    """Whether only Django's own code has written the SQL: then the same queryset has the same."""
    own_reading: str | None
    """The method by which the program's own class of querysets reads its rows, if it has one."""

    def parts(self) -> tuple[Any, ...]:
        """It, for the key."""
        return (self.sql, self.params, self.shape)


def query_of(queryset: models.QuerySet[Any]) -> Query:
    """The SQL of a queryset, and what else makes its rows."""
    if not _is_bare(queryset):
        return _compiled(queryset)

    # All rows of a model, as most prefetches have them: compiled once.
    options = queryset.model._meta
    place = (queryset.model, queryset.db, options.db_table, tuple(options.ordering))
    known = _bare.get(place)
    if known is None:
        known = _compiled(queryset)
        if known.is_known:
            _bare.put(place, known)
    return known


_bare: Recent[tuple[Any, ...], Query] = Recent(1_000)

# What a query works out by itself.
_WORKED_OUT = {
    "model",
    "alias_refcount",
    "alias_map",
    "alias_cols",
    "base_table",
    "used_aliases",
    "table_map",
    "where",
}
_UNSAID = sql.Query(None)


def _is_bare(queryset: models.QuerySet[Any]) -> bool:
    """Whether it is all rows of a model, and nothing else is said."""
    query = queryset.query
    is_plain = type(query) is sql.Query and type(queryset) is models.QuerySet
    if not is_plain or query.where or is_values(queryset):
        return False
    return all(
        name in _WORKED_OUT or getattr(_UNSAID, name, NotImplemented) == value
        for name, value in vars(query).items()
    )


class _Noting:
    """Something of Django's, with all that it has, and some of it changed."""

    def __init__(self, noted: Any) -> None:
        self._noted = noted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._noted, name)


class _Operations(_Noting):
    def compiler(self, name: str) -> Any:
        return _noting(self._noted.compiler(name))


class _Connection(_Noting):
    """A connection whose compilers note each part of a query that they compile, also those of the
    queries within it."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self.nodes: list[Any] = []
        self.ops = _Operations(connection.ops)


@cache
def _noting(kind: Any) -> Any:
    class Noting(kind):  # type: ignore[misc]
        def compile(self, node: Any) -> Any:
            self.connection.nodes.append(node)
            return super().compile(node)

    return Noting


def _compiled(queryset: models.QuerySet[Any]) -> Query:
    held: Any = queryset
    made: Any = held._chain()
    made.query = queryset.query.chain()
    connection = _Connection(connections[queryset.db])
    try:
        text, params = made.query.get_compiler(connection=connection).as_sql()
    except EmptyResultSet:
        text, params = "", ()
    kind = made._iterable_class
    shape = (
        queryset.model._meta.label,
        queryset.db,
        f"{kind.__module__}.{kind.__qualname__}",
        tuple(getattr(queryset, "_fields", None) or ()),
        [(name, _type_of(one)) for name, one in made.query.annotation_select.items()],
        _own(queryset),
    )
    own: Any = type(queryset)
    name = own_reading(own)
    return Query(
        text,
        tuple(params),
        frozenset(tables_of(made, text)),
        shape,
        using=queryset.db,
        is_known=type(made.query) is sql.Query and all(map(is_known_node, connection.nodes)),
        own_reading=f"{own.__qualname__}.{name}" if name else None,
    )


def _own(queryset: models.QuerySet[Any]) -> Any:
    """Which class of the program's own querysets it is, and its state, which rows may show."""
    kind = type(queryset)
    if is_djangos(kind):
        return None
    state = {name: one for name, one in vars(queryset).items() if name not in QUERYSET_STATE}
    return (f"{kind.__module__}.{kind.__qualname__}", state)


def _type_of(expression: Any) -> tuple[Any, ...]:
    """The type of an annotation, by which values become Python's."""
    field = expression.output_field
    _, path, arguments, options = field.deconstruct()
    parts: tuple[Any, ...] = (path, arguments, options)
    try:
        canonical(parts)
    except UnseenError:
        parts = (path,)
    kind = type(field)
    state: Any = None
    if not is_djangos(kind) and not hasattr(field, "model"):
        # Its values may be made by what it was given, and does not tell.
        state = {name: one for name, one in vars(field).items() if name != "creation_counter"}
    return (*parts, f"{kind.__module__}.{kind.__qualname__}", state)
