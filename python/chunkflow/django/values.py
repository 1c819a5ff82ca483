"""Values of columns as they stand in the keys of rows, and back.

A key value is what the library can keep: a number, a text, bytes, NULL. A date is its text, and so
is a decimal number.
"""

from __future__ import annotations

import datetime
import math
import uuid
from decimal import Decimal
from typing import Any, TypeAlias

from django.db import models

Scalar: TypeAlias = bool | int | float | str | bytes | Decimal | None
Key: TypeAlias = tuple[Scalar, ...]


class OrderError(ValueError):
    """An order that cannot be read on from a row; the text says what to do."""


def primary(model: type[models.Model]) -> list[Any]:
    """The fields of the primary key, which may be several from Django 5.2 on."""
    options: Any = model._meta
    return list(getattr(options, "pk_fields", None) or [options.pk])


def scalar(field: Any, value: Any) -> Scalar:
    """A value of a field as it stands in a key."""
    if value is None:
        return None
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, bool | float) and getattr(field, "primary_key", False):
        # Changes of a row are told by the text of its key.
        return str(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        # NaN is a text: no number is equal to it.
        return "nan" if math.isnan(value) else value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return f"{value.days} {value.seconds} {value.microseconds}"
    if isinstance(value, uuid.UUID):
        return str(value)

    prepared = field.get_prep_value(value)
    if type(prepared) is not type(value):
        return scalar(field, prepared)
    raise OrderError(
        f"`{getattr(field, 'name', None) or type(field).__name__}` has values of the type "
        f"{type(value).__name__}, from which nothing can be read on; order by another column"
    )


def plain(value: Decimal) -> str:
    """A decimal number, the same text for 1.5 and 1.50."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def value_of(field: Any, value: Scalar) -> Any:
    """The value that `scalar` was given."""
    if value is None:
        return None
    if isinstance(field, models.DurationField) and isinstance(value, str):
        days, seconds, microseconds = map(int, value.split())
        return datetime.timedelta(days, seconds, microseconds)
    return field.to_python(value)
