"""A queryset as bytes, and a queryset of its own made of them.

The bytes are a pickle, which holds all that a query is made of. What is worked out of a queryset
that was made of bytes depends on nothing but these bytes: on no list that a view changes later, and
on no row that it holds. So whoever meets the same bytes again need not work it out again.

For that, nothing is in them whose code could decide anything by something else: only values,
expressions and fields of Django's and of Python's own. Of other querysets there are no bytes.
"""

from __future__ import annotations

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

_OURS = ("builtins", "collections", "copyreg", "datetime", "decimal", "django", "uuid", "zoneinfo")
"""The first parts of the names of modules whose code decides by its values alone."""


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
                return _of_a_model(value)
            # One of no model is counted, so that no two have the same state.
            return _field, (kind, *value.deconstruct()[2:])
        if isinstance(value, ForeignObjectRel) and hasattr(value.field, "model"):
            return _of_a_model(value)
        if type(value) is Col:
            # One for all queries, which keep what they find out in it.
            return Col, (value.alias, value.target, value.output_field)
        if isinstance(value, models.Lookup) and _is_djangos(type(value)):
            # What it was made of may be a row, of which it has only the key.
            state = {name: one for name, one in vars(value).items() if name != "_constructor_args"}
            return copyreg.__newobj__, (type(value),), state  # type: ignore[attr-defined]
        if isinstance(value, models.QuerySet):
            # Its own pickle would have its rows.
            return _queryset, _parts(value)
        if isinstance(value, models.Choices):
            return NotImplemented
        if isinstance(value, FunctionType):
            module = value.__module__
            is_known = module == __name__ or module.partition(".")[0] in _OURS
        else:
            is_known = type(value).__module__.partition(".")[0] in _OURS
        if not is_known:
            raise _UnknownError
        return NotImplemented


# The fields and relations of models, by their identity. They live as long as the process.
_living: dict[int, Any] = {}


def _of_a_model(field: Any) -> tuple[Any, ...]:
    name = id(field)
    if name not in _living:
        held = field.field if isinstance(field, ForeignObjectRel) else field
        known = held.model._meta.get_field(held.name)
        if field is not known and field is not known.remote_field:
            # A copy of one, which may be another in each request.
            raise _UnknownError
        _living[name] = field
    return _known_field, (name,)


def _known_field(name: int) -> Any:
    return _living[name]


def _field(kind: Any, arguments: Any, options: Any) -> Any:
    return kind(*arguments, **options)


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
    """A queryset and values that are read with it, as bytes; `None` if there are none. Where it
    names no database, one is to be among the values."""
    out = io.BytesIO()
    try:
        _Pickler(out, pickle.HIGHEST_PROTOCOL).dump((queryset, *values))
    except Exception:
        # Whatever has no pickle raises whatever it likes.
        return None
    return out.getvalue()


def copies(drawn: bytes) -> tuple[Any, ...] | None:
    """The queryset of a picture and the values, made anew; `None` if that cannot be."""
    try:
        made: tuple[Any, ...] = pickle.loads(drawn)
    except Exception:
        return None
    return made


_PARTS = ("_query", "model", "_db", "_iterable_class", "_fields")
_LOOKUPS, _KNOWN = "_prefetch_related_lookups", "_known_related_objects"
_OF_USE = ("_hints", "_result_cache", "_sticky_filter", "_for_write", "_prefetch_done")
"""What does not change which rows a copy of a queryset reads, once its database is known."""


def _parts(queryset: models.QuerySet[Any]) -> tuple[Any, ...]:
    held: Any = queryset
    # A filter that was put off is applied by asking for the query.
    query = held.query
    more = {
        name: value
        for name, value in vars(held).items()
        if name not in _PARTS and name not in _OF_USE and name not in (_LOOKUPS, _KNOWN)
    }
    return (
        type(held),
        held.model,
        held.model._meta.db_table,
        query,
        held._db,
        {"_iterable_class": held._iterable_class, "_fields": held._fields, **more},
        held._prefetch_related_lookups,
        list(held._known_related_objects),
    )


def _queryset(
    kind: Any,
    model: Any,
    _: str,
    query: Any,
    using: str | None,
    state: dict[str, Any],
    lookups: tuple[Any, ...],
    known: list[Any],
) -> Any:
    made = kind(model=model, query=query, using=using)
    vars(made).update(state)
    vars(made)[_LOOKUPS] = lookups
    vars(made)[_KNOWN] = {field: {} for field in known}
    return made
