"""From which tables a list's rows come, so that a change of a row costs the chunks that show it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.apps import apps
from django.db import connections, models
from django.db.models.constants import LOOKUP_SEP

from chunkflow._native import Follows, Related

from .compiled import query_of
from .order import Keyset, is_grouped, is_values
from .prefetches import Prefetched, explicit, step_of
from .values import Key, primary, scalar

Shown = Sequence[tuple[int, Key]]


@dataclass(frozen=True)
class Followed:
    """What is followed, and which related rows a row shows."""

    follows: Follows
    shown: Callable[[Any], Shown]


def followed(
    queryset: models.QuerySet[Any],
    keyset: Keyset,
    prefetched: Sequence[Prefetched],
    tables: set[str],
    deciding: frozenset[str] = frozenset(),
) -> Followed:
    """What a list's rows come from. `deciding` are tables by which requests filter: a change there
    may bring a row into a filtered list of which no chunk shows it."""
    tables = tables | deciding
    if is_grouped(queryset) or (is_values(queryset) and queryset.query.distinct):
        # A row stands for several of the table, so each change may be one of any row.
        every = sorted(tables | _ends(tables))
        return Followed(Follows(None, (), database=queryset.db, others=every), lambda _: ())

    options = queryset.model._meta
    own = options.db_table
    key = [field.column for field in primary(queryset.model)]
    related: list[Related] = []
    finders: list[tuple[int, Callable[[Any], Iterator[Any]]]] = []
    # Tables that decide which rows there are and where: each chunk may change with them.
    others = set(tables) - {own}
    # Without what is only selected: what filters, sorts and computes.
    times = times_read(unselected(queryset), own)

    if not is_values(queryset):
        for path, model in _selected(queryset):
            table = model._meta.db_table
            others |= {parent._meta.db_table for parent in model._meta.get_parent_list()}
            if table in deciding or _decides(queryset, keyset, table, times):
                continue
            others.discard(table)
            related.append(Related(table, [field.column for field in primary(model)]))
            finders.append((len(related) - 1, _path(path)))

        for one in prefetched:
            _of_prefetch(one, related, finders, others)

    others |= _ends(others) - {own}
    # A row of a parent's table is a part of a row of its own.
    others |= {parent._meta.db_table for parent in options.get_parent_list()}
    if times > 1 or own in deciding:
        # A row of its own may be there for another row.
        others.add(own)
    follows = Follows(own, key, database=queryset.db, related=related, others=sorted(others))

    def shown(row: Any) -> Shown:
        found: list[tuple[int, Key]] = []
        for index, finder in finders:
            for instance in finder(row):
                found.append((index, _key(instance)))
        return found

    return Followed(follows, shown)


def _key(instance: models.Model) -> Key:
    return tuple(
        scalar(field, getattr(instance, field.attname)) for field in primary(type(instance))
    )


@cache
def _joints() -> dict[str, frozenset[str]]:
    """The join tables that Django makes, each with the tables that it joins."""
    found = {}
    for model in apps.get_models(include_auto_created=True):
        if model._meta.auto_created:
            ends: list[Any] = [
                field.related_model for field in model._meta.fields if field.is_relation
            ]
            found[model._meta.db_table] = frozenset(end._meta.db_table for end in ends)
    return found


def _ends(tables: set[str]) -> set[str]:
    """The tables whose deleted rows take rows of join tables with them: Django says nothing of
    those."""
    return {end for table in tables for end in _joints().get(table, ())}


def unselected(queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """A queryset without the related rows that it brings with it."""
    # `select_related()` refuses a queryset of `values()`.
    bare: models.QuerySet[Any] = queryset.all()
    bare.query.select_related = False
    return bare


def times_read(queryset: models.QuerySet[Any], table: str) -> int:
    """How often a query reads a table, in subqueries too."""
    name = re.escape(connections[queryset.db].ops.quote_name(table))
    return len(re.findall(rf"\b(?:FROM|JOIN) {name}", query_of(queryset).sql))


def _decides(queryset: models.QuerySet[Any], keyset: Keyset, table: str, times: int) -> bool:
    """Whether a table's rows decide which rows are in the list, or where."""
    if table == queryset.model._meta.db_table:
        return times > 1
    # Without what is only selected: what filters and sorts.
    bare = unselected(queryset).order_by()
    if table in query_of(bare).tables:
        return True
    return any(not column.is_own for column in keyset.columns)


def _selected(
    queryset: models.QuerySet[Any],
) -> Iterator[tuple[tuple[str, ...], type[models.Model]]]:
    """The related rows that a row brings with it, by `select_related`."""
    named = queryset.query.select_related
    if isinstance(named, dict):
        yield from _selected_of(queryset.model, named, ())
    elif named:
        yield from _all_selected(queryset.model, (), queryset.query.max_depth)


def _selected_of(
    model: type[models.Model], named: dict[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], type[models.Model]]]:
    for name, inner in named.items():
        step = step_of(model, _attribute(model, name))
        if step is not None:
            yield (*path, _attribute(model, name)), step.model
            yield from _selected_of(step.model, inner, (*path, _attribute(model, name)))


def _all_selected(
    model: type[models.Model], path: tuple[str, ...], left: int
) -> Iterator[tuple[tuple[str, ...], type[models.Model]]]:
    for field in model._meta.fields if left else ():
        if field.remote_field and not field.null and not field.remote_field.parent_link:
            related: Any = field.remote_field.model
            yield (*path, field.name), related
            yield from _all_selected(related, (*path, field.name), left - 1)


def _attribute(model: type[models.Model], name: str) -> str:
    """The attribute of a relation's name in queries: they differ on its other side."""
    for relation in model._meta.related_objects:
        if relation.name == name:
            return str(relation.get_accessor_name())
    return name


def _of_prefetch(
    one: Prefetched, related: list[Related], finders: list[tuple[int, Any]], others: set[str]
) -> None:
    step, queryset = one.step, one.queryset
    if step is None or queryset is None:
        return

    table = step.model._meta.db_table
    key = [field.column for field in primary(step.model)]
    place = tuple(one.lookup.prefetch_to.split(LOOKUP_SEP))
    others |= {parent._meta.db_table for parent in step.model._meta.get_parent_list()}
    others |= query_of(queryset).tables - {table}
    # What the related rows bring with them.
    for _, model in _selected(queryset):
        others.add(model._meta.db_table)
    for inner in explicit(queryset):
        if inner.step is None or inner.queryset is None:
            continue
        others |= {inner.step.model._meta.db_table, *query_of(inner.queryset).tables}
        if inner.step.kind == "many":
            others.add(inner.step.relation.through._meta.db_table)

    if step.kind == "one":
        if one.is_whole:
            related.append(Related(table, key))
            finders.append((len(related) - 1, _path(place)))
        else:
            others.add(table)
    elif step.kind == "back":
        column = getattr(step.relation, "column", None) or _object_id(step.relation)
        if one.parent or column is None:
            # The related row points to a row that is not the list's own.
            others.add(table)
            return
        related.append(Related(table, key, points=column))
        finders.append((len(related) - 1, _path(place)))
    else:
        through = step.relation.through
        if one.parent or not one.is_whole:
            others.update((table, through._meta.db_table))
            return
        rel = step.relation.rel
        name = (
            rel.field.m2m_reverse_name() if step.relation.reverse else rel.field.m2m_column_name()
        )
        through_key = [field.column for field in primary(through)]
        related.append(
            Related(
                table, key, points=name, through=through._meta.db_table, through_key=through_key
            )
        )
        finders.append((len(related) - 1, _path(place)))


def _object_id(relation: Any) -> str | None:
    """The column by which a row points to another of any model."""
    name = getattr(relation, "object_id_field_name", None)
    if name is None:
        return None
    column: str = relation.remote_field.model._meta.get_field(name).column
    return column


def _path(path: tuple[str, ...]) -> Callable[[Any], Iterator[Any]]:
    """The rows at the end of a path of attributes that are loaded."""

    def find(row: Any) -> Iterator[Any]:
        yield from _walk(row, path)

    return find


def _walk(row: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if not path:
        yield row
        return
    for one in _loaded(row, path[0]):
        yield from _walk(one, path[1:])


def _loaded(row: Any, attribute: str) -> Sequence[Any]:
    if attribute in row.__dict__:
        # Where `to_attr` put it.
        found = row.__dict__[attribute]
    else:
        name, is_list = _cache_name(row.__class__, attribute)
        found = getattr(row, "_prefetched_objects_cache", {}).get(name) if is_list else None
        if found is None:
            found = row._state.fields_cache.get(name)
    if found is None:
        return ()
    return (
        found if isinstance(found, list) else list(found) if hasattr(found, "__iter__") else [found]
    )


@cache
def _cache_name(kind: type[models.Model], attribute: str) -> tuple[str, bool]:
    """The name under which Django keeps the related rows of an attribute, and whether they are
    several."""
    step = step_of(kind, attribute)
    found: Any = getattr(kind, attribute, None)
    if step is None or step.kind == "one":
        return attribute, False
    if hasattr(found, "related"):
        return str(_name_of(found.related)), False
    if step.kind == "many":
        field = found.rel.field
        return str(field.related_query_name() if found.reverse else field.name), True
    if type(found).__name__ == "ReverseGenericManyToOneDescriptor":
        return str(found.rel.field.attname), True
    return str(_name_of(found.field.remote_field)), True


def _name_of(relation: Any) -> str:
    # Before Django 5.1 it is a method.
    name: str = (
        relation.cache_name if hasattr(relation, "cache_name") else relation.get_cache_name()
    )
    return name
