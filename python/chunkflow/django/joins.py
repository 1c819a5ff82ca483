"""Which joins of a query may give a row more than once.

Rows that are read on by their key must each have another key. A row joined to several others is
there once for each of them, with one key, and of those at the end of a run one would be lost.

What a row has one value of is worked out from what is equal: a column that a condition or a join
makes equal to a value that is known has one value, and so has each row that is named by a unique
set of such columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeAlias

from django.apps import apps
from django.db import models
from django.db.models.expressions import Col
from django.db.models.lookups import Exact
from django.db.models.sql.constants import INNER

from .values import primary

Place: TypeAlias = tuple[str, str]
"""An alias and a column."""


def several(query: models.sql.Query) -> set[str]:
    """The aliases of a query of which a row of the list may be joined to several rows."""
    joins: dict[str, Any] = {
        alias: join
        for alias, join in query.alias_map.items()
        if query.alias_refcount.get(alias) or join.parent_alias is None
    }
    # The aliases of which there is one row, and the columns that have one value.
    whole = {alias for alias, join in joins.items() if join.parent_alias is None}
    single: set[Place] = set()
    equal = list(_equalities(query.where))
    for join in joins.values():
        if join.parent_alias is not None and join.join_type == INNER:
            equal += [
                ((join.parent_alias, left), (join.table_alias, right))
                for left, right in _columns(join)
            ]

    def has_one(column: Place | None) -> bool:
        return column is None or column[0] in whole or column in single

    before = -1
    while before != len(whole) + len(single):
        before = len(whole) + len(single)
        for one, other in equal:
            single |= {column for column in (one, other) if column and has_one(one)}
            single |= {column for column in (one, other) if column and has_one(other)}
        for alias, join in joins.items():
            there = {column for name, column in single if name == alias}
            if alias not in whole and join.parent_alias in whole:
                # Also where the other row may be missing: none is less than two.
                there |= {right for _, right in _columns(join)} | set(_named(join))
            if any(columns <= there for columns in _unique(join.table_name)):
                whole.add(alias)
    return set(joins) - whole


def _columns(join: Any) -> list[tuple[str, str]]:
    """The pairs of columns that a join compares."""
    fields = getattr(join, "join_fields", None)
    if fields:
        return [(left.column, right.column) for left, right in fields]
    return list(join.join_cols)


def _named(join: Any) -> Iterator[str]:
    """The columns that a FilteredRelation compares with a value."""
    found = getattr(join.filtered_relation, "resolved_condition", None)
    for one, other in _equalities(found):
        if one and other is None and one[0] == join.table_alias:
            yield one[1]


def _equalities(node: Any) -> Iterator[tuple[Place | None, Place | None]]:
    """What all rows meet: a column that is equal to another, or (`None`) to a value."""
    if isinstance(node, Exact):
        left, right = node.lhs, node.rhs
        if isinstance(left, Col) and (isinstance(right, Col) or _is_value(right)):
            other = (right.alias, right.target.column) if isinstance(right, Col) else None
            yield (left.alias, left.target.column), other
        return
    children = getattr(node, "children", None)
    if children and not node.negated and (node.connector == "AND" or len(children) == 1):
        for child in children:
            yield from _equalities(child)


def _is_value(value: Any) -> bool:
    return not hasattr(value, "resolve_expression") and not hasattr(value, "as_sql")


@cache
def _unique(table: str) -> tuple[frozenset[str], ...]:
    """The sets of columns of which no two rows of a table have the same values."""
    found: list[frozenset[str]] = []
    for model in apps.get_models(include_auto_created=True):
        options: Any = model._meta
        if options.db_table != table or options.proxy:
            continue
        names: list[Any] = [[field.name for field in primary(model)]]
        names += [[field.name] for field in options.local_concrete_fields if field.unique]
        names += options.unique_together
        names += [
            one.fields
            for one in options.constraints
            if isinstance(one, models.UniqueConstraint)
            and one.fields
            and one.condition is None
            and one.deferrable is None
        ]
        local = {field.name: field.column for field in options.local_concrete_fields}
        found += [
            frozenset(local[name] for name in each) for each in names if set(each) <= set(local)
        ]
    return tuple(found)


def reads(expression: Any, aliases: set[str]) -> bool:
    """Whether an expression has a column of these aliases, outside of an aggregate."""
    if isinstance(expression, Col):
        return expression.alias in aliases
    if isinstance(expression, models.Aggregate | models.Subquery):
        return False
    parts: list[Any] = getattr(expression, "get_source_expressions", list)()
    return any(reads(part, aliases) for part in parts if part is not None)
