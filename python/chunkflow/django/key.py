"""The key of a list: all that its rows may depend on, as bytes.

If two requests could differ in something that cannot be seen here, `UnseenError` is raised and
nothing is cached.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import django
from django.conf import global_settings, settings
from django.core.exceptions import EmptyResultSet
from django.db import models
from django.db.models import sql
from django.urls import get_script_prefix, get_urlconf
from django.utils import timezone, translation

from .canonical import UnseenError, canonical, digest
from .order import is_values
from .prefetches import Prefetched, explicit
from .recent import Recent
from .visible import Place, check_sql, tables_of

SHAPING = (
    "FORCE_SCRIPT_NAME",
    "FORMAT_MODULE_PATH",
    "LANGUAGE_CODE",
    "LOCALE_PATHS",
    "MEDIA_URL",
    "ROOT_URLCONF",
    "STATIC_URL",
    "TIME_ZONE",
    "USE_I18N",
    "USE_L10N",
    "USE_THOUSAND_SEPARATOR",
    "USE_TZ",
)
"""Settings by which serializers write different rows, with that of the sites framework."""

_shaping = attrgetter(*[name for name in SHAPING if hasattr(global_settings, name)])


class Here:
    """What the thread of a request says of how values are written."""

    def __init__(self, language: str | None, zone: Any, urlconf: Any, script: str) -> None:
        self.language = language
        self.zone = zone
        self.urlconf = urlconf
        self.script = script

    @staticmethod
    def now() -> Here:
        """That of this thread, or of this task."""
        return Here(
            translation.get_language(),
            timezone.get_current_timezone(),
            get_urlconf(),
            get_script_prefix(),
        )

    @cached_property
    def parts(self) -> tuple[Any, ...]:
        """It, for the key. Raises `UnseenError`."""
        urlconf = self.urlconf
        if urlconf is not None and not isinstance(urlconf, str):
            name = getattr(urlconf, "__name__", None)
            if not isinstance(name, str):
                raise UnseenError(
                    "the request's urlconf is an object without a name",
                    "give the name of its module",
                )
            urlconf = name
        # Django 4.2 warns of USE_L10N where it is asked for as others are.
        there: Any = settings._wrapped
        # One text, since the key is made for each request.
        shaping = repr((*_shaping(there), getattr(there, "SITE_ID", None)))
        return (self.language, self.zone, urlconf, self.script, shaping)


@dataclass(frozen=True)
class Query:
    """A queryset as the database would be asked."""

    sql: str
    params: tuple[Any, ...]
    tables: frozenset[str]
    shape: tuple[Any, ...]
    """What SQL does not say: the model, the form of rows, the types of annotations."""

    def parts(self) -> tuple[Any, ...]:
        """It, for the key."""
        return (self.sql, self.params, self.shape)


def query_of(queryset: models.QuerySet[Any]) -> Query:
    """The SQL of a queryset, and what else makes its rows."""
    if not _is_bare(queryset):
        return _compiled(queryset)

    # All rows of a model, as most prefetches have them: compiled once.
    place = (queryset.model, queryset.db, queryset.model._meta.db_table)
    known = _bare.get(place)
    if known is None:
        known = _compiled(queryset)
        _bare.put(place, known)
    return known


_bare: Recent[tuple[Any, str, str], Query] = Recent(1_000)

# What a query works out by itself.
_WORKED_OUT = {
    "model",
    "alias_refcount",
    "alias_map",
    "alias_cols",
    "base_table",
    "used_aliases",
    "table_map",
    "where",
}
_UNSAID = sql.Query(None)


def _is_bare(queryset: models.QuerySet[Any]) -> bool:
    """Whether it is all rows of a model, and nothing else is said."""
    query = queryset.query
    if type(query) is not sql.Query or query.where or is_values(queryset):
        return False
    return all(
        name in _WORKED_OUT or getattr(_UNSAID, name, NotImplemented) == value
        for name, value in vars(query).items()
    )


def _compiled(queryset: models.QuerySet[Any]) -> Query:
    held: Any = queryset
    made: Any = held._chain()
    made.query = queryset.query.chain()
    try:
        text, params = made.query.get_compiler(using=queryset.db).as_sql()
    except EmptyResultSet:
        text, params = "", ()
    kind = made._iterable_class
    shape = (
        queryset.model._meta.label,
        queryset.db,
        f"{kind.__module__}.{kind.__qualname__}",
        tuple(getattr(queryset, "_fields", None) or ()),
        [(name, _type_of(one)) for name, one in made.query.annotation_select.items()],
    )
    return Query(text, tuple(params), frozenset(tables_of(made, text)), shape)


def _type_of(expression: Any) -> tuple[Any, ...]:
    """The type of an annotation, by which values become Python's."""
    field = expression.output_field
    _, path, arguments, options = field.deconstruct()
    parts = (path, arguments, options)
    try:
        canonical(parts)
    except UnseenError:
        kind = type(field)
        return (path, f"{kind.__module__}.{kind.__qualname__}")
    return parts


def prefetch_parts(prefetched: Sequence[Prefetched]) -> tuple[list[Any], set[str]]:
    """What is prefetched, for the key; and its tables."""
    parts: list[Any] = []
    tables: set[str] = set()
    for one in prefetched:
        named: list[Any] = [one.lookup.prefetch_through, one.lookup.prefetch_to, one.lookup.to_attr]
        if one.queryset is not None:
            query = query_of(one.queryset)
            check_sql(query.sql)
            inner_parts, inner_tables = prefetch_parts(explicit(one.queryset))
            named += [query.parts(), inner_parts]
            tables |= query.tables | inner_tables
        if one.step is not None and one.step.kind == "many":
            tables.add(one.step.relation.through._meta.db_table)
        parts.append(named)
    return parts, tables


def version(
    shape: bytes,
    here: Here,
    *,
    place: Place,
    session: Mapping[str, str],
    code: bytes,
    added: Sequence[Any],
) -> bytes:
    """The digest of all that the rows depend on."""
    return digest(
        "django 2",
        django.VERSION[:3],
        place,
        session,
        shape,
        here.parts,
        code,
        list(added),
    )


_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
_ENOUGH = 10
_MOST = 1_000


class Growing:
    """Finds a query that has a new key at each request, since it holds the time."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[tuple[str, ...], int]] = {}

    def sees(self, query: Query) -> bool:
        """Whether the time of this query has grown with each of the last requests; true once."""
        moments = tuple(
            text
            for text in (one if isinstance(one, str) else str(one) for one in query.params)
            if _MOMENT.match(text)
        )
        if not moments:
            return False
        before, times = self._last.get(query.sql, ((), 0))
        if times < 0:
            return False
        # The same time twice is a key that can be met again.
        grown = any(now > then for now, then in zip(moments, before, strict=False))
        shrunk = any(now < then for now, then in zip(moments, before, strict=False))
        times = times + 1 if grown and not shrunk else 0
        if len(self._last) >= _MOST and query.sql not in self._last:
            self._last.clear()
        self._last[query.sql] = (moments, -1 if times >= _ENOUGH else times)
        return times >= _ENOUGH
