"""Which code is Django's own, and decides by nothing but its values.

What is worked out of a queryset may be remembered only if no code of the program has a say in it:
it might ask what only the request's thread knows. The rules are strict. What they do not know is
worked out for each request.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from django.db import connections, models
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.db.models.manager import BaseManager


def is_djangos(value: Any) -> bool:
    """Whether a class or function is Django's own."""
    return str(getattr(value, "__module__", "")).partition(".")[0] == "django"


def is_djangos_or_pythons(value: Any) -> bool:
    """Whether a class is Django's own, or one of Python's encoders and the like."""
    return value is None or is_djangos(value) or value.__module__.partition(".")[0] == "json"


_OF_CLASSES = {"__module__", "__doc__", "__qualname__", "__annotations__", "__dict__"}
_OF_CLASSES |= {"__weakref__", "__firstlineno__", "__static_attributes__", "__parameters__"}
_OF_CLASSES |= {"__orig_bases__", "__hash__"}

_OF_FIELDS = {
    "__init__",
    "check",
    "clean",
    "contribute_to_class",
    "deconstruct",
    "default_error_messages",
    "default_validators",
    "description",
    "form_class",
    "formfield",
    "from_db_value",
    "pre_save",
    "run_validators",
    "to_python",
    "validate",
    "value_from_object",
    "value_to_string",
    "widget",
}
"""What a field of the program may say itself: nothing of it is asked for to make SQL."""

_OF_QUERYSETS = {
    "update",
    "aupdate",
    "delete",
    "adelete",
    "create",
    "acreate",
    "bulk_create",
    "abulk_create",
    "bulk_update",
    "abulk_update",
    "as_manager",
}
"""What a queryset of the program may say itself, of all that Django's own has."""


QUERYSET_STATE = frozenset(vars(models.QuerySet(models.Model)))
"""The attributes of Django's own querysets."""


@cache
def _is_known_kind(kind: Any) -> bool:
    own = [base for base in kind.__mro__ if base is not object and not is_djangos(base)]
    return all(vars(base).keys() <= _OF_FIELDS | _OF_CLASSES for base in own)


def is_known_field(field: Any) -> bool:
    """Whether Django's own code makes SQL of a field, or a relation, and of its values."""
    if isinstance(field, ForeignObjectRel):
        return is_djangos(type(field)) and is_known_field(field.field)
    coders = (getattr(field, "encoder", None), getattr(field, "decoder", None))
    kind: Any = type(field)
    return _is_known_kind(kind) and all(map(is_djangos_or_pythons, coders))


def is_known_node(node: Any) -> bool:
    """Whether a part of a query, as it is compiled, is Django's own with all that it asks."""
    held = vars(node)
    fields = [held.get(name) for name in ("target", "output_field", "join_field")]
    return is_djangos(type(node)) and all(is_known_field(one) for one in fields if one is not None)


@cache
def own_reading(kind: Any) -> str | None:
    """What a class of querysets does in its own way of all that Django's does; `None`: nothing.
    Methods that Django's has not are called by the view only, before the list is made."""
    own = [
        base
        for base in kind.__mro__
        if base is not object and not is_djangos(base) and not _is_ours(base)
    ]
    names = {name for base in own for name in vars(base)} - _OF_QUERYSETS - _OF_CLASSES
    found = sorted(name for name in names if hasattr(models.QuerySet, name))
    return found[0] if found else None


def _is_ours(kind: Any) -> bool:
    return str(kind.__module__).partition(".")[0] in ("chunkflow", "typing")


@cache
def is_known_choice(kind: Any) -> bool:
    """Whether members of an enumeration are for a database what their values are."""
    own = [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in _OF_CHOICES]
    return not any(name in vars(base) for base in own for name in _ASKED_BY_DRIVERS)


_OF_CHOICES = ("builtins", "django", "enum")
_ASKED_BY_DRIVERS = ("__conform__", "__str__", "__format__", "__repr__", "__reduce__", "getquoted")


def is_plain(manager: Any) -> bool:
    """Whether a manager gives all rows of its model, whatever it is asked in."""
    kind = type(manager)
    return bool(
        manager._queryset_class is models.QuerySet
        and kind.get_queryset is BaseManager.get_queryset
        and kind.all is BaseManager.all
        and not vars(manager).keys() & {"get_queryset", "all", "_queryset_class"}
    )


def has_known_compiler(alias: str) -> bool:
    """Whether the SQL for a database is written by Django's own code."""
    connection: Any = connections[alias]
    return is_djangos(type(connection.ops)) and connection.ops.compiler_module.startswith("django.")
