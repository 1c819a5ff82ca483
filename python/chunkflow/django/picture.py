"""A queryset as bytes, and a queryset of its own made of them.

The bytes are a pickle, which holds all that a query is made of. What is worked out of a queryset
that was made of bytes depends on nothing but these bytes: on no list that a view changes later, and
on no row that it holds. So whoever meets the same bytes again need not work it out again.

For that, nothing is in them whose code could decide anything by something else: only values,
expressions and fields of Django's and of Python's own (see `known`). Of other querysets there are
no bytes.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any
from zoneinfo import ZoneInfo

from django.db import models
from django.db.models.expressions import Col
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.utils.functional import LazyObject, Promise

from .known import QUERYSET_STATE, is_djangos, is_known_choice, is_known_field, own_reading

_OURS = ("builtins", "collections", "copyreg", "datetime", "decimal", "django", "uuid", "zoneinfo")
"""The first parts of the names of modules whose classes decide by their values alone."""


class _UnknownError(Exception):
    """Something is in a queryset of which nobody can say what it does."""


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        # By the type alone: lazy objects wake when they are asked for their class.
        kind = type(value)
        if issubclass(kind, type):
            return NotImplemented
        if issubclass(kind, _FUNCTIONS):
            if value not in _KNOWN_FUNCTIONS:
                raise _UnknownError
            return NotImplemented
        if issubclass(kind, models.Field):
            return _of_a_model(value) if "model" in vars(value) else _of_no_model(value)
        if issubclass(kind, ForeignObjectRel):
            return _of_a_model(value)
        if kind is Col:
            # One for all queries, which keep what they find out in it.
            return Col, (value.alias, value.target, value.output_field)
        if issubclass(kind, models.Lookup) and is_djangos(kind):
            # What it was made of may be a row, of which it has only the key.
            state = {name: one for name, one in vars(value).items() if name != "_constructor_args"}
            return _new, (kind,), state
        if issubclass(kind, models.QuerySet):
            # Its own pickle would have its rows.
            return _queryset, _parts(value)
        if issubclass(kind, models.Choices):
            if not is_known_choice(kind):
                raise _UnknownError
            return NotImplemented
        if issubclass(kind, ZoneInfo):
            if not value.key:
                raise _UnknownError
            return ZoneInfo, (value.key,)
        if issubclass(kind, Promise):
            return _text_of(value)
        is_known = kind.__module__.partition(".")[0] in _OURS
        if not is_known or issubclass(kind, LazyObject | models.Model):
            raise _UnknownError
        return NotImplemented


def _text_of(value: Any) -> tuple[Any, ...]:
    # What a lazy translation is of: a function, its arguments, and the types that it gives.
    if value.__reduce__()[1][3:] != (str,):
        raise _UnknownError
    return str, (str(value),)


# The fields and relations of models, by their identity. They live as long as the process.
_living: dict[int, Any] = {}


def _of_a_model(field: Any) -> tuple[Any, ...]:
    name = id(field)
    if name not in _living:
        is_relation = isinstance(field, ForeignObjectRel)
        held = field.field if is_relation else field
        known = held.model._meta.get_field(held.name)
        if field is not (known.remote_field if is_relation else known) or not is_known_field(field):
            # A copy of one may be another in each request.
            raise _UnknownError
        _living[name] = field
    return _known_field, (name,)


def _known_field(name: int) -> Any:
    return _living[name]


def _of_no_model(field: Any) -> tuple[Any, ...]:
    kind: Any = type(field)
    arguments, options = field.deconstruct()[2:]
    if not is_djangos(kind) or not is_known_field(field):
        raise _UnknownError
    # It is counted, so that no two have the same state; and nobody has given it more than that.
    if vars(field).keys() - {"output_field"} != vars(kind(*arguments, **options)).keys():
        raise _UnknownError
    return _field, (kind, arguments, options)


def _field(kind: Any, arguments: Any, options: Any) -> Any:
    return kind(*arguments, **options)


def _new(kind: Any) -> Any:
    return kind.__new__(kind)


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


def copies(drawn: bytes) -> tuple[Any, ...]:
    """The queryset of a picture and the values, made anew."""
    made: tuple[Any, ...] = pickle.loads(drawn)
    return made


_LOOKUPS, _KNOWN = "_prefetch_related_lookups", "_known_related_objects"
_STATE = QUERYSET_STATE - {
    "model",
    "_query",
    "_db",
    _LOOKUPS,
    _KNOWN,
    # These do not change which rows a copy reads, once its database is known.
    "_hints",
    "_result_cache",
    "_sticky_filter",
    "_for_write",
    "_prefetch_done",
}


def _parts(queryset: models.QuerySet[Any]) -> tuple[Any, ...]:
    held: Any = queryset
    kind: Any = type(held)
    # A filter that was put off is applied by asking for the query.
    query = held.query
    if own_reading(kind) is not None or not vars(held).keys() <= QUERYSET_STATE:
        raise _UnknownError
    return (
        kind,
        held.model,
        held.model._meta.db_table,
        query,
        held._db,
        {name: one for name, one in vars(held).items() if name in _STATE},
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


_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)
_KNOWN_FUNCTIONS = (
    copyreg.__newobj__,  # type: ignore[attr-defined]
    copyreg._reconstructor,  # type: ignore[attr-defined]
    _field,
    _known_field,
    _new,
    _queryset,
)
