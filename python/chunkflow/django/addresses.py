"""The addresses of an application under which lists are streamed."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern

from .stream import stream, stream_sync


def addresses() -> Iterator[tuple[str | None, str]]:
    """The path of each view that calls `stream`, and the view's name. The path is `None` if it has
    arguments."""
    yield from _below(get_resolver().url_patterns, "/")


def _below(patterns: Any, path: str | None) -> Iterator[tuple[str | None, str]]:
    for one in patterns:
        here = _path(path, one.pattern)
        if isinstance(one, URLResolver):
            yield from _below(one.url_patterns, here)
        elif isinstance(one, URLPattern) and _streams(one.callback):
            yield here, one.lookup_str


def _path(before: str | None, pattern: Any) -> str | None:
    if before is None or pattern.converters:
        return None
    text = str(pattern)
    if not isinstance(pattern, RoutePattern):
        text = text.removeprefix("^").removesuffix("$").removesuffix(r"\Z")
        if any(sign in text for sign in "()[]{}*+?|\\"):
            return None
    return before + text


def _streams(view: Any, depth: int = 0) -> bool:
    """Whether the code of a view names `stream`, itself or in a function that it calls."""
    if depth > 3:
        return False
    if isinstance(view, functools.partial):
        return _streams(view.func, depth)
    kind = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if kind is not None:
        methods = [one for _, one in inspect.getmembers(kind, inspect.isfunction)]
        return any(_streams(one, depth + 1) for one in methods)

    if isinstance(view, types.MethodType):
        view = view.__func__
    if not isinstance(view, types.FunctionType):
        return hasattr(view, "__wrapped__") and _streams(view.__wrapped__, depth)
    if hasattr(view, "__wrapped__") and _streams(view.__wrapped__, depth):
        return True
    for cell in view.__closure__ or ():
        try:
            inner = cell.cell_contents
        except ValueError:
            continue
        if isinstance(inner, types.FunctionType) and _streams(inner, depth + 1):
            return True
    for name in _names(view.__code__):
        found = view.__globals__.get(name)
        if found in (stream, stream_sync) or _has(found, view.__code__):
            return True
        is_near = isinstance(found, types.FunctionType) and found.__module__ == view.__module__
        if is_near and found is not view and _streams(found, depth + 1):
            return True
    return False


def _has(module: Any, code: types.CodeType) -> bool:
    """Whether it is a module of which the code takes `stream`."""
    if not isinstance(module, types.ModuleType):
        return False
    names = {"stream", "stream_sync"} & set(_names(code))
    return any(getattr(module, name, None) in (stream, stream_sync) for name in names)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
