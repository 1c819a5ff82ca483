"""The key of a list: all that its rows may depend on, as bytes.

If two requests could differ in something that cannot be seen here, `UnseenError` is raised and
nothing is cached.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

import django
from django.conf import global_settings, settings
from django.urls import get_script_prefix, get_urlconf
from django.utils import timezone, translation

from .canonical import UnseenError, digest
from .compiled import Query, query_of
from .prefetches import Prefetched, explicit
from .visible import Place

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


def prefetch_parts(prefetched: Sequence[Prefetched]) -> tuple[list[Any], list[Query], set[str]]:
    """What is prefetched, for the key; its queries, and its tables."""
    parts: list[Any] = []
    queries: list[Query] = []
    tables: set[str] = set()
    for one in prefetched:
        named: list[Any] = [one.lookup.prefetch_through, one.lookup.prefetch_to, one.lookup.to_attr]
        if one.queryset is not None:
            query = query_of(one.queryset)
            inner_parts, inner_queries, inner_tables = prefetch_parts(explicit(one.queryset))
            named += [query.parts(), inner_parts]
            queries += [query, *inner_queries]
            tables |= query.tables | inner_tables
        if one.step is not None and one.step.kind == "many":
            tables.add(one.step.relation.through._meta.db_table)
        parts.append(named)
    return parts, queries, tables


def version(
    shape: bytes,
    here: Here,
    *,
    places: Sequence[Place],
    session: Mapping[str, str],
    code: bytes,
    added: Sequence[Any],
) -> bytes:
    """The digest of all that the rows depend on."""
    return digest(
        "django 2",
        django.VERSION[:3],
        list(places),
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
