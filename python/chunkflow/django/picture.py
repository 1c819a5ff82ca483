"""A queryset as bytes, so that equal bytes are the same question to the database.

They are its pickle, which holds all that a query is made of. So that it can stand for the query,
nothing is in it whose code could decide anything by what is not in the pickle: only values,
expressions and fields of Django's and of Python's own. Whoever meets the same bytes again need not
compile the query again. `None` stands for a queryset of which that cannot be said.
"""

from __future__ import annotations

import copy
import copyreg
import io
import pickle
from functools import cache
from types import FunctionType
from typing import Any

from django.db import connections, models
from django.db.models.expressions import Col
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.db.models.manager import BaseManager
from django.utils.tree import Node

_OURS = ("builtins", "collections", "copyreg", "datetime", "decimal", "django", "uuid", "zoneinfo")
"""The first parts of the names of modules whose code decides by its values alone."""

_SAID = {"_iterable_class", "_fields", "_query", "model"}
_SAID_OF_USE = {"_db", "_hints", "_result_cache", "_sticky_filter", "_for_write", "_prefetch_done"}
"""What does not change which rows a copy of a queryset reads, once its database is known."""


class _UnknownError(Exception):
    """Something is in a queryset of which nobody can say what it does."""


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type):
            return NotImplemented
        if isinstance(value, models.Field):
            kind: Any = type(value)
            if not _is_ours_in_sql(kind):
                raise _UnknownError
            if hasattr(value, "model"):
                # It lives as long as its model.
                return int, (id(value),)
            # One of no model is counted, so that no two have the same state.
            return tuple, ((kind, value.deconstruct()[1:]),)
        if isinstance(value, ForeignObjectRel) and hasattr(value.field, "model"):
            return int, (id(value),)
        if type(value) is Col:
            # One for all queries, which keep what they find out in it.
            return Col, (value.alias, value.target, value.output_field)
        if isinstance(value, models.Lookup) and _is_djangos(type(value)):
            # What it was made of may be a row, of which it has only the key.
            state = {name: one for name, one in vars(value).items() if name != _MADE_OF}
            return copyreg.__newobj__, (type(value),), state  # type: ignore[attr-defined]
        if isinstance(value, models.QuerySet):
            # Its own pickle would have its rows.
            return tuple, (_parts(value),)
        if isinstance(value, models.Choices):
            return NotImplemented
        module = value.__module__ if isinstance(value, FunctionType) else type(value).__module__
        if module.partition(".")[0] not in _OURS:
            raise _UnknownError
        return NotImplemented


_MADE_OF = "_constructor_args"


def without_rows(queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """A copy of a queryset that does not hold the rows of which it was made."""
    held: Any = queryset
    made: Any = held._chain()
    # Routers have been asked, and what is known of related rows is read anew.
    made._hints = {}
    made._known_related_objects = {}
    _drop_rows(made.query.where)
    lean: models.QuerySet[Any] = made
    return lean


def _drop_rows(node: Any) -> None:
    """Where a query was copied, so were the nodes of its conditions, and the lookups were not."""
    for at, child in enumerate(node.children):
        if isinstance(child, Node):
            _drop_rows(child)
        elif isinstance(child, models.Lookup) and hasattr(child, _MADE_OF):
            node.children[at] = copy.copy(child)
            delattr(node.children[at], _MADE_OF)


_ASKED_FOR_SQL = (
    "select_format",
    "get_placeholder",
    "get_prep_value",
    "get_db_prep_value",
    "get_lookup",
    "get_transform",
    "get_col",
    "db_type",
    "cast_db_type",
    "rel_db_type",
)


@cache
def _is_ours_in_sql(kind: Any) -> bool:
    """Whether Django's own code makes SQL of a kind of field and of its values."""
    found = [getattr(kind, name, None) for name in _ASKED_FOR_SQL]
    return all(_is_djangos(one) for one in found if one is not None)


def _is_djangos(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] == "django"


@cache
def has_known_sql(model: Any) -> bool:
    """Whether Django's own code names the columns of a model."""
    kinds: set[Any] = {type(field) for field in model._meta.concrete_fields}
    return all(map(_is_ours_in_sql, kinds))


def has_known_compiler(alias: str) -> bool:
    """Whether the SQL for a database is written by Django's own code."""
    operations: Any = connections[alias].ops
    return _is_djangos(type(operations)) and operations.compiler_module.startswith("django.")


def is_plain(manager: Any) -> bool:
    """Whether a manager gives all rows of its model, whatever it is asked in."""
    kind = type(manager)
    return bool(
        manager._queryset_class is models.QuerySet
        and kind.get_queryset is BaseManager.get_queryset
        and kind.all is BaseManager.all
    )


def picture(queryset: models.QuerySet[Any], *values: Any) -> bytes | None:
    """A queryset, and values that are read with it. Where it names no database, one is among
    them."""
    out = io.BytesIO()
    try:
        _Pickler(out, pickle.HIGHEST_PROTOCOL).dump((_parts(queryset), values))
    except Exception:
        # Whatever has no pickle raises whatever it likes.
        return None
    return out.getvalue()


def _parts(queryset: models.QuerySet[Any]) -> tuple[Any, ...]:
    held: Any = queryset
    # A filter that was put off is applied by asking for the query.
    query = held.query
    more = {
        name: value
        for name, value in vars(held).items()
        if name not in _SAID and name not in _SAID_OF_USE and name not in _MADE_BELOW
    }
    return (
        type(held),
        held.model,
        held.model._meta.db_table,
        held._db,
        held._iterable_class,
        held._fields,
        query,
        [_lookup(one) for one in held._prefetch_related_lookups],
        [field.name for field in held._known_related_objects],
        more,
    )


_MADE_BELOW = {"_prefetch_related_lookups", "_known_related_objects"}


def _lookup(lookup: Any) -> Any:
    if isinstance(lookup, str):
        return lookup
    if type(lookup) is not models.Prefetch:
        raise _UnknownError
    given: Any = lookup
    return (
        given.prefetch_through,
        given.prefetch_to,
        given.to_attr,
        None if given.queryset is None else _parts(given.queryset),
    )
