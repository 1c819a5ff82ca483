"""What is slow or surprising in a list: the checks of one list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Info
from django.db import connections, models
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, IsNull
from django.db.models.sql.where import AND, WhereNode

from .canonical import UnseenError
from .prefetches import fresh
from .serializer import Links
from .values import primary

ROWS = 50
"""As many as the first chunk has, roughly."""


@dataclass(frozen=True)
class Index:
    """An index of the database: its columns, each with whether it is descending."""

    columns: tuple[tuple[str, bool], ...]

    def serves(
        self, same: frozenset[str], order: Sequence[tuple[str, bool]], wanted: frozenset[str]
    ) -> bool:
        """Whether it gives rows in an order, of those that are equal in the columns `same`. Those
        in `wanted` must be among its columns."""
        columns = list(self.columns)
        found = set()
        while columns and columns[0][0] in same:
            found.add(columns.pop(0)[0])
        if not wanted <= found:
            return False

        flips = set()
        for name, descending in order:
            if name in same:
                continue
            if not columns or columns[0][0] != name:
                return False
            flips.add(columns.pop(0)[1] != descending)
        return len(flips) < 2


def advice(plan: Any, key: Any, where: str) -> Iterator[CheckMessage]:
    """What is to be said of the list that a view streams."""
    yield from _not_cached(plan, key, where)
    yield from _atomic(plan, where)
    with connections[plan.alias].cursor() as cursor:
        indexes = list(_indexes(plan, cursor))
    yield from _order(plan, indexes, where)
    yield from _filters(plan, indexes, where)
    yield from _queries(plan, where)
    yield from _differing(plan, where)


def _not_cached(plan: Any, key: Any, where: str) -> Iterator[CheckMessage]:
    if key is None:
        plan.ask()
    try:
        plan.version([key], is_told=key is not None)
    except UnseenError as error:
        yield checks.Warning(
            f"the list is not cached: {error.what}",
            hint=error.remedy,
            obj=where,
            id="chunkflow.W010",
        )


def _atomic(plan: Any, where: str) -> Iterator[CheckMessage]:
    aliases = {
        alias for alias in plan.shape.aliases if settings.DATABASES[alias].get("ATOMIC_REQUESTS")
    }
    view = getattr(plan.request.resolver_match, "func", None)
    if aliases - set(getattr(view, "_non_atomic_requests", ())):
        yield checks.Warning(
            "the list is not cached, since ATOMIC_REQUESTS opens a transaction for each request",
            hint="Decorate the view with django.db.transaction.non_atomic_requests.",
            obj=where,
            id="chunkflow.W011",
        )


# Indexes.


def _indexes(plan: Any, cursor: Any) -> Iterator[Index]:
    connection = connections[plan.alias]
    model = plan.given.model
    found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    # These databases end each index by the key.
    has_key = connection.vendor in ("sqlite", "mysql")
    tail = [(field.column, False) for field in primary(model)] if has_key else []
    for one in found.values():
        names = one["columns"]
        if not names or None in names or not (one["index"] or one["unique"] or one["primary_key"]):
            continue
        if one.get("type") in ("gin", "gist", "brin", "hash", "spgist", "fulltext", "rtree"):
            continue
        orders = one.get("orders") or ["ASC"] * len(names)
        columns = [(name, order == "DESC") for name, order in zip(names, orders, strict=False)]
        named = {name for name, _ in columns}
        yield Index((*columns, *(one for one in tail if one[0] not in named)))


def _order(plan: Any, indexes: Sequence[Index], where: str) -> Iterator[CheckMessage]:
    columns = plan.shape.keyset.columns
    foreign = [column.path for column in columns if not column.is_own]
    if foreign:
        yield checks.Warning(
            f"the order has {_list(foreign)}, which is no column of {_table(plan)}, so each chunk "
            "sorts the whole list",
            hint="Keep a copy of it in a column of the model, with an index, and order by that.",
            obj=where,
            id="chunkflow.W020",
        )
        return

    same = dict(_same(plan))
    wanted = frozenset(name for name, field in same.items() if field.is_relation)
    order = [(column.name, column.descending) for column in columns]
    if not any(index.serves(frozenset(same), order, wanted) for index in indexes):
        fields = [*same.values(), *(_field(plan, name) for name, _ in order if name not in same)]
        signs = dict(order)
        words = [("-" if signs.get(one.column) else "") + one.name for one in fields]
        what = " and its filter" if same else ""
        yield checks.Warning(
            f"the order{what} has no index in {_table(plan)}: each chunk reads and sorts all rows",
            hint=_remedy(plan, words),
            obj=where,
            id="chunkflow.W021",
        )

    given = _given(plan)
    if given and not _is_unique(plan, given):
        added = [name for name in plan.shape.keyset.names() if name.lstrip("-") not in given]
        yield Info(
            f"the order is not unique, so {_list(added)} decides between equal rows",
            hint="Have the index end with it.",
            obj=where,
            id="chunkflow.I022",
        )


def _given(plan: Any) -> list[str]:
    """The columns of the order without those that were added to make it one of single rows."""
    keys = [field.column for field in primary(plan.given.model)]
    names = [column.name for column in plan.shape.keyset.columns]
    while names and names[-1] in keys:
        names.pop()
    return names


def _is_unique(plan: Any, names: Iterable[str]) -> bool:
    fields = [_field(plan, name) for name in names]
    return any(field.unique and not field.null for field in fields)


def _same(plan: Any) -> Iterator[tuple[str, models.Field[Any, Any]]]:
    """The columns that are equal in all rows of the list."""
    query = plan.shape.queryset.query
    alias = query.get_initial_alias()

    def walk(node: Any) -> Iterator[Any]:
        if isinstance(node, WhereNode):
            if node.connector == AND and not node.negated:
                for child in node.children:
                    yield from walk(child)
        elif isinstance(node, Exact) or (isinstance(node, IsNull) and node.rhs is True):
            is_column = isinstance(node.lhs, Col) and node.lhs.alias == alias
            if is_column and not hasattr(node.rhs, "get_source_expressions"):
                yield node.lhs.target

    for field in walk(query.where):
        yield field.column, field


def _filters(plan: Any, indexes: Sequence[Index], where: str) -> Iterator[CheckMessage]:
    same = dict(_same(plan))
    for one in plan.shape.filters.values():
        if LOOKUP_SEP in one.path or one.path in plan.shape.queryset.query.annotations:
            continue
        field = one.field
        is_there = any(
            next((name for name, _ in index.columns if name not in same), None) == field.column
            for index in indexes
        )
        if not is_there and field.column not in same:
            yield checks.Warning(
                f"the filter `{one.name}` has no index in {_table(plan)}: a request that has it "
                "reads all rows",
                hint=_remedy(plan, [*(one.name for one in same.values()), field.name]),
                obj=where,
                id="chunkflow.W023",
            )


def _field(plan: Any, column: str) -> Any:
    fields = plan.given.model._meta.concrete_fields
    return next(field for field in fields if field.column == column)


def _remedy(plan: Any, words: Sequence[str]) -> str:
    """The line that adds the index."""
    meta = plan.given.model._meta
    words = list(dict.fromkeys(words))
    # Django allows 30 characters.
    name = "_".join([meta.model_name, *(word.lstrip("-") for word in words)])[:30].rstrip("_")
    if meta.managed:
        fields = ", ".join(f'"{word}"' for word in words)
        return (
            f'In Meta.indexes of {meta.object_name}: models.Index(fields=[{fields}], name="{name}")'
        )

    quote = connections[plan.alias].ops.quote_name
    columns = ", ".join(
        quote(meta.get_field(word.lstrip("-")).column) + (" DESC" if word[0] == "-" else "")
        for word in words
    )
    return f"CREATE INDEX {quote(name)} ON {quote(meta.db_table)} ({columns})"


def _table(plan: Any) -> str:
    return f"`{plan.given.model._meta.db_table}`"


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


# Queries.


def _queries(plan: Any, where: str) -> Iterator[CheckMessage]:
    """Whether writing rows asks the database, once all is loaded that the queryset names."""
    rows = plan.shape.keyset.read(None, ROWS)
    if plan.shape.prefetched:
        models.prefetch_related_objects(rows, *fresh(plan.shape.prefetched))
    if len(rows) < 3:
        yield Info(
            f"the list has {len(rows)} rows: whether its serializer asks the database for each "
            "row is not known",
            obj=where,
            id="chunkflow.I030",
        )
        return

    write = plan.writer.begin(plan.links or Links("http://localhost"))
    # The first row may fill caches, such as that of content types.
    write(plan.shape.keyset.bare(rows[0]))
    queries: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        queries.append(sql)
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(note))
        for row in rows[1:]:
            write(plan.shape.keyset.bare(row))
    if queries:
        yield checks.Warning(
            f"the serializer asks the database {len(queries)} times for {len(rows) - 1} rows, for "
            f"instance: {_short(queries[0])}",
            hint="Name what it shows in select_related() or prefetch_related() of the queryset; a "
            "filter of a prefetched relation asks again, so use Prefetch(queryset=…, to_attr=…).",
            obj=where,
            id="chunkflow.W031",
        )


def _short(sql: str) -> str:
    return sql if len(sql) <= 300 else f"{sql[:150]} … {sql[-140:]}"


# What another database does otherwise.


def _differing(plan: Any, where: str) -> Iterator[CheckMessage]:
    vendors = sorted({connections[alias].vendor for alias in connections})
    if len(vendors) < 2:
        return

    for column in plan.shape.keyset.columns:
        field = column.field
        if column.nullable and not column.says_nulls:
            yield checks.Warning(
                f"NULL in `{column.name}` comes first in SQLite and MySQL, and last in PostgreSQL",
                hint=f"Say it: F('{column.path}').{'desc' if column.descending else 'asc'}"
                "(nulls_last=True).",
                obj=where,
                id="chunkflow.W040",
            )
        if isinstance(field, models.CharField | models.TextField) and not field.db_collation:
            yield Info(
                f"the texts of `{column.name}` are in another order in each of {_list(vendors)}",
                hint="Give the field a db_collation, or order by another column.",
                obj=where,
                id="chunkflow.I041",
            )
    if "sqlite" in vendors:
        for field in plan.given.model._meta.concrete_fields:
            if isinstance(field, models.DecimalField) and (field.max_digits or 0) > 15:
                yield checks.Warning(
                    f"SQLite keeps 15 digits of `{field.name}`, and other databases all "
                    f"{field.max_digits}",
                    obj=where,
                    id="chunkflow.W042",
                )
