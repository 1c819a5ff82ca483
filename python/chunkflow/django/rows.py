"""What is told of a row: its key, and the keys of the rows that it points to."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from django.db import connections
from django.db.models import Model

from .telling import MOST_ROWS, Row, reading
from .values import primary, scalar


def concrete(model: type[Model]) -> type[Model]:
    """The model that has the table."""
    return model._meta.concrete_model or model


def lineage(model: type[Model]) -> list[type[Model]]:
    """The models whose tables hold a row of this one: itself and what it inherits from."""
    found = [concrete(model)]
    for parent in model._meta.get_parent_list():
        if concrete(parent) not in found:
            found.append(concrete(parent))
    return found


@cache
def told_fields(model: type[Model]) -> tuple[Any, ...]:
    """The fields whose values are told: the key and the foreign keys, generic ones too. By these
    lists know which of their chunks show the row; where it belongs they ask the database when that
    is needed."""
    keys = {field for one in lineage(model) for field in primary(one)}
    generic = {getattr(field, "fk_field", None) for field in model._meta.private_fields}
    return tuple(
        field
        for field in model._meta.concrete_fields
        if field.column is not None
        and (field in keys or field.is_relation or field.name in generic)
    )


def text(field: Any, value: Any, using: str) -> str | None:
    """A value as it is told, which is how it stands in the key of a row."""
    if field.is_relation:
        # The value of the field that it points to.
        return text(field.target_field, value, using)

    value = field.to_python(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        # In the zone in which it is read from the database.
        value = value.astimezone(connections[using].timezone or datetime.timezone.utc)
    one = scalar(field, value)
    return None if one is None else str(one)


def values(model: type[Model], found: Mapping[str, Any], using: str) -> dict[str, str | None]:
    """What is told of the row of a model, by column, from values by the names of attributes."""
    return {
        field.column: text(field, found[field.attname], using)
        for field in told_fields(model)
        if field.attname in found and _is_known(found[field.attname])
    }


def key(model: type[Model], found: Mapping[str, Any], using: str) -> tuple[str, ...] | None:
    """The key of the row, if its values are there."""
    texts = []
    for field in primary(model):
        value = found.get(field.attname)
        one = text(field, value, using) if _is_known(value) else None
        if one is None:
            return None
        texts.append(one)

    return tuple(texts)


def _is_known(value: Any) -> bool:
    """Whether it is a value, and not an expression that the database computes."""
    return not hasattr(value, "resolve_expression")


def loaded(instance: Model) -> dict[str, Any]:
    """The values of an instance that are told, without those whose loading was deferred."""
    there = instance.__dict__
    fields = told_fields(type(instance))
    return {field.attname: there[field.attname] for field in fields if field.attname in there}


def changed_rows(
    model: type[Model],
    using: str,
    *,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
) -> list[Row] | None:
    """The rows of all tables that hold a row of this model, from its values before and after;
    `None` if its key is not known. A row that is gone has no values after."""
    rows = []
    for one in lineage(model):
        name = key(one, (old if new is None else new) or {}, using)
        if name is None:
            return None
        before, after = (values(one, found or {}, using) for found in (old, new))
        rows.append(Row(one._meta.db_table, name, before, after))
    return rows


def read(model: type[Model], condition: Mapping[str, Any], using: str) -> list[Row] | None:
    """The rows that meet a condition, as they are now; `None` if they are too many."""
    names = [field.attname for field in told_fields(model)]
    with reading(using):
        rows = model._base_manager.using(using).filter(**condition).order_by()
        found = list(rows.values(*names)[: MOST_ROWS + 1])
    if len(found) > MOST_ROWS:
        return None
    return [row for one in found for row in changed_rows(model, using, new=one) or []]


def read_keys(model: type[Model], keys: Sequence[Any], using: str) -> list[Row]:
    """The rows with these keys, as they are now."""
    # SQLite and Oracle take so many values in one query.
    step = min(connections[using].features.max_query_params or MOST_ROWS, MOST_ROWS)
    rows: list[Row] = []
    for at in range(0, len(keys), step):
        rows += read(model, {"pk__in": keys[at : at + step]}, using) or []
    return rows
