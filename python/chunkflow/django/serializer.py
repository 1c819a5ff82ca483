"""Rows as JSON: by a function, by a serializer class of Django REST framework, or as they are."""

from __future__ import annotations

import base64
import inspect
import json
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils.encoding import iri_to_uri

from .canonical import UnseenError
from .code import SerializerError, is_bare, look, refusal
from .order import is_values

_SPLITTING = re.compile("[\u0085\u2028\u2029]")
"""Characters that end a line of NDJSON for some clients."""

_SURROGATES = re.compile("[\ud800-\udfff]")


class Links:
    """Absolute URLs: `links("/tricks/1/")`, with the scheme and host of the request."""

    __slots__ = ("base",)

    def __init__(self, base: str) -> None:
        self.base = base

    def __call__(self, path: str) -> str:
        """The absolute URL of a path; one that is absolute stays as it is."""
        path = iri_to_uri(path)
        if path.startswith("/") and not path.startswith("//") and "/." not in path:
            return self.base + path
        return urljoin(self.base + "/", path)


@dataclass(frozen=True)
class Writer:
    """What makes JSON objects of rows."""

    digest: bytes
    """What it does, as bytes."""
    columns: tuple[str, ...] | None
    """The members of every row, in order, as far as they are known before there is a row."""
    uses_links: bool
    begin: Callable[[Links | None], Callable[[Any], bytes]]
    """Makes the function that writes a row, for one run."""
    unseen: UnseenError | None = None
    """Why not all that it does can be seen, if so."""


def writer(
    serialize: Any,
    queryset: models.QuerySet[Any],
    *,
    fields: Sequence[str] | None = None,
    may_close_over: bool = False,
    others: tuple[Any, ...] = (),
) -> Writer:
    """What writes the rows of a queryset. Raises `SerializerError` for what cannot."""
    columns = tuple(fields) if fields is not None else None
    if serialize is None:
        return _of_values(queryset, columns, others)
    if _is_drf(serialize):
        return _of_drf(serialize, columns, others)
    return _of_function(serialize, columns, may_close_over, others)


def _of_values(
    queryset: models.QuerySet[Any], columns: tuple[str, ...] | None, others: Any
) -> Writer:
    if not is_values(queryset):
        raise SerializerError(
            "rows of a model need a serializer: give a function `def serialize(row)` or a "
            "serializer class of Django REST framework, or use `queryset.values(…)`"
        )
    query = queryset.query
    # From Django 5.2 on, `values()` keeps the order of its arguments.
    known = getattr(query, "selected", None) or (
        *query.extra_select,
        *query.values_select,
        *query.annotation_select,
    )
    return Writer(b"values", columns or tuple(known), False, lambda _: encode)


def _of_function(
    serialize: Any, columns: tuple[str, ...] | None, may_close_over: bool, others: Any
) -> Writer:
    why = refusal(serialize)
    if why and not (may_close_over and callable(serialize)):
        raise SerializerError(
            f"the serializer cannot be told from another one: {why}. Write it as a function of a "
            "module, `def serialize(row)`, that takes all it needs from the row; or pass `key=` with "
            "all that it depends on"
        )
    if inspect.iscoroutinefunction(serialize) or inspect.isgeneratorfunction(serialize):
        raise SerializerError(
            "the serializer is called in a thread for one row at a time: write it with `def` and "
            "return"
        )

    uses_links = _takes_links(serialize)
    known, unseen = (b"", None) if why else look(serialize, others)

    def begin(links: Links | None) -> Callable[[Any], bytes]:
        if uses_links:
            return lambda row: encode(_member_object(serialize(row, links), serialize))
        return lambda row: encode(_member_object(serialize(row), serialize))

    return Writer(b"function " + known, columns, uses_links, begin, unseen)


def _takes_links(serialize: Any) -> bool:
    """Whether a serializer takes `links`; one without has the same rows for every host."""
    if isinstance(serialize, types.FunctionType) and is_bare(serialize):
        code = serialize.__code__
        takes_more = code.co_kwonlyargcount or code.co_flags & inspect.CO_VARARGS
        if code.co_argcount in (1, 2) and not takes_more:
            return code.co_argcount == 2
    try:
        parameters = list(inspect.signature(serialize).parameters.values())
    except (TypeError, ValueError) as error:
        raise SerializerError(
            f"the serializer has no signature: {error}; write a function of a module"
        ) from error
    needed = [
        one
        for one in parameters
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty
    ]
    keywords = [
        one for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty
    ]
    if len(needed) not in (1, 2) or keywords:
        raise SerializerError(
            "the serializer takes a row, or a row and links: `def serialize(row, links)`"
        )
    if len(needed) == 1 and len(parameters) > 1 and parameters[1].name == "links":
        return True
    return len(needed) == 2


def _member_object(value: Any, serialize: Any) -> Any:
    if isinstance(value, Mapping):
        return value
    name = getattr(serialize, "__qualname__", serialize)
    raise TypeError(f"the serializer {name} returned a {type(value).__name__}; a row is a dict")


def _is_drf(serialize: Any) -> bool:
    kinds = type(serialize).__mro__ if not isinstance(serialize, type) else serialize.__mro__
    return any(
        kind.__name__ == "BaseSerializer" and kind.__module__.startswith("rest_framework")
        for kind in kinds
    )


def _of_drf(serialize: Any, columns: tuple[str, ...] | None, others: Any) -> Writer:
    if not isinstance(serialize, type):
        raise SerializerError(
            "a serializer object holds what one request gave it; give its class, without `many=True`: "
            "the class sees rows only"
        )
    if "<locals>" in serialize.__qualname__:
        raise SerializerError(
            f"the serializer class {serialize.__qualname__} may close over what one request gave; "
            "write it in a module"
        )

    from rest_framework import VERSION
    from rest_framework.relations import HyperlinkedRelatedField
    from rest_framework.settings import api_settings
    from rest_framework.utils.encoders import JSONEncoder

    sample = serialize(context={})
    fields = getattr(sample, "fields", None)
    for name, field in (fields or {}).items():
        if isinstance(getattr(field, "child_relation", field), HyperlinkedRelatedField):
            raise SerializerError(
                f"the field `{name}` needs the request for its link, which no serializer sees here; "
                "make it a SerializerMethodField with the path, or write a function `def serialize(row, links)`"
            )
    if columns is None and fields is not None:
        columns = tuple(name for name, field in fields.items() if not field.write_only)

    names = dict.fromkeys(
        part
        for name, field in (fields or {}).items()
        for part in (name, *str(field.source).split("."))
    )
    known, unseen = look(serialize, others, tuple(names))
    known += repr(sample).encode() + VERSION.encode()
    known += repr(sorted(api_settings.user_settings.items(), key=str)).encode()
    encoder = _encoder(JSONEncoder)

    def begin(_: Links | None) -> Callable[[Any], bytes]:
        # One object for a run, as a list of it would have: each copies its declared fields.
        show = serialize(context={}).to_representation
        return lambda row: _encoded(encoder, _member_object(show(row), serialize))

    return Writer(b"drf " + known, columns, False, begin, unseen)


class _Encoder(DjangoJSONEncoder):
    """As Django does; bytes, for which it has no form, as base64."""

    def default(self, o: Any) -> Any:
        if isinstance(o, bytes | bytearray | memoryview):
            return base64.b64encode(o).decode("ascii")
        return super().default(o)


def _encoder(kind: type[json.JSONEncoder]) -> json.JSONEncoder:
    return kind(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


_ENCODER = _encoder(_Encoder)


def encode(row: Any) -> bytes:
    """A row as JSON, as DjangoJSONEncoder writes its values. NaN and infinity are null."""
    return _encoded(_ENCODER, row)


def _encoded(encoder: json.JSONEncoder, row: Any) -> bytes:
    try:
        text = encoder.encode(row)
    except ValueError as error:
        if "JSON compliant" not in str(error):
            raise
        text = encoder.encode(_finite(row))

    text = _SPLITTING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text).encode()


def _finite(value: Any) -> Any:
    """A value with null for each number that JSON cannot write."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(member) for member in value]
    return value
