"""What a function would do, as bytes: so that rows of old code are never shown by new code.

Seen are the function itself with its nested functions, constants, names and defaults, and what it
reaches by global names: functions, classes and plain values (numbers, texts, tuples, dicts) of the
same project. A project is what shares the first part of a module's name with the function or with
one of the models. Plain values are read again at each request, since a program may change them.

Not seen are other packages, templates, files, and what is reached by way of an object: a method of
a value that only a call returns. After a change of these, change `key=` or purge the list.
"""

from __future__ import annotations

import functools
import sys
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import models
from django.utils import translation
from django.utils.functional import cached_property

from .canonical import UnseenError, canonical

MOST = 5_000
"""How many functions and classes are looked at."""

_NEVER = ("django", "rest_framework")


class SerializerError(TypeError):
    """A function that cannot be a serializer; the text says what to do."""


def refusal(function: Any) -> str | None:
    """Why nobody can say what this function depends on; `None` if it can be said."""
    if isinstance(function, functools.partial):
        return "it is a partial, whose arguments may differ from request to request"
    if isinstance(function, types.MethodType):
        return "it is a bound method, whose object may differ from request to request"
    if not isinstance(function, types.FunctionType):
        return f"it is a {type(function).__name__}, not a function of a module"
    if function.__name__ == "<lambda>":
        return "it is a lambda"
    if function.__code__.co_freevars:
        free = ", ".join(f"`{name}`" for name in function.__code__.co_freevars)
        return f"it closes over {free}, which may differ from request to request"

    try:
        canonical((function.__defaults__, function.__kwdefaults__, function.__dict__))
    except UnseenError as error:
        return f"a default or attribute of it cannot be seen: {error.what}"
    return None


class Code:
    """What a function and some classes reach, worked out once and then compared."""

    def __init__(self, roots: Iterable[Any]) -> None:
        roots = [_plain(root) for root in roots]
        modules = {_module(root) for root in roots}
        self._projects = {module.partition(".")[0] for module in modules} - set(_NEVER)
        self._modules = modules
        self._seen: dict[int, Any] = {}
        # What global names meant: if one means another thing now, all is worked out again.
        self._meant: list[tuple[dict[str, Any], str, Any]] = []
        self._data: list[tuple[dict[str, Any], str]] = []

        out: list[bytes] = []
        waiting = list(reversed(roots))
        while waiting and len(self._seen) < MOST:
            one = waiting.pop()
            if id(one) in self._seen:
                continue
            self._seen[id(one)] = one
            if isinstance(one, type):
                waiting.extend(self._of_class(one, out))
            else:
                waiting.extend(self._of_function(one, out))
        self._code = b"".join(out)

    def is_current(self) -> bool:
        """Whether each global name still means what it meant."""
        return all(names.get(name) is value for names, name, value in self._meant)

    def now(self) -> bytes:
        """The code, and the plain values that it reads as they are now."""
        return self._code + canonical([names.get(name) for names, name in self._data])

    def _is_own(self, value: Any) -> bool:
        module = _module(value)
        return module in self._modules or module.partition(".")[0] in self._projects

    def _of_function(self, function: types.FunctionType, out: list[bytes]) -> Iterator[Any]:
        defaults = (function.__defaults__, function.__kwdefaults__)
        out.append(_record("function", _module(function), function.__qualname__))
        out.append(_code_bytes(function.__code__))
        out.append(_loose(defaults))
        for cell in function.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:
                continue
            yield from self._of_value(held, out)

        names = sorted(set(_names(function.__code__)))
        for name in names:
            if name not in function.__globals__:
                continue
            value = function.__globals__[name]
            if isinstance(value, types.ModuleType):
                inner = vars(value)
                own = value.__name__.partition(".")[0] in self._projects
                for attribute in names if own else ():
                    if attribute in inner:
                        yield from self._of_global(inner, attribute, out)
            else:
                yield from self._of_global(function.__globals__, name, out)

    def _of_global(self, names: dict[str, Any], name: str, out: list[bytes]) -> Iterator[Any]:
        value = names[name]
        if isinstance(value, types.ModuleType):
            return
        if _is_data(value):
            out.append(_record("global", name))
            self._data.append((names, name))
            return
        self._meant.append((names, name, value))
        out.append(_record("name", name))
        yield from self._of_value(value, out)

    def _of_value(self, value: Any, out: list[bytes]) -> Iterator[Any]:
        value = _plain(value)
        if isinstance(value, types.FunctionType | type):
            if self._is_own(value):
                yield value
            else:
                out.append(_record("other", _module(value), value.__qualname__))
        else:
            out.append(_loose(value))

    def _of_class(self, kind: type, out: list[bytes]) -> Iterator[Any]:
        out.append(_record("class", kind.__module__, kind.__qualname__))
        for base in kind.__mro__[1:]:
            if self._is_own(base):
                yield base
            else:
                out.append(_record("base", base.__module__, base.__qualname__))

        for name, value in sorted(vars(kind).items(), key=lambda item: item[0]):
            if name in ("__dict__", "__weakref__", "__doc__", "_meta", "__module__"):
                continue
            out.append(_record("attribute", name))
            for part in _parts(value):
                yield from self._of_value(part, out)

        if isinstance(kind, type) and issubclass(kind, models.Model):
            for field in kind._meta.get_fields():
                choices = getattr(field, "flatchoices", None)
                if choices:
                    with translation.override(None):
                        out.append(_record("choices", field.name) + _loose(list(choices)))


_known: weakref.WeakKeyDictionary[Any, dict[Any, Code]] = weakref.WeakKeyDictionary()


def code_of(root: Any, others: tuple[Any, ...] = ()) -> bytes:
    """The bytes of what a function or class does, together with `others`, which are models."""
    root = _plain(root)
    held = root.__code__ if isinstance(root, types.FunctionType) else root
    variants = _known.setdefault(held, {})
    # Functions made of one code may have other globals, so those are a part of the name.
    name = (id(root.__globals__) if isinstance(root, types.FunctionType) else 0, others)
    code = variants.get(name)
    if code is None or not code.is_current():
        code = variants[name] = Code((root, *others))

    own = (root.__defaults__, root.__kwdefaults__) if isinstance(root, types.FunctionType) else ()
    return canonical((sys.version_info[:3], code.now(), _loose(own)))


def _plain(value: Any) -> Any:
    """The function within a method, a property or a decorated function."""
    if isinstance(value, types.MethodType):
        return value.__func__
    return value


def _parts(value: Any) -> list[Any]:
    """The functions that an attribute of a class is made of."""
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [part for part in (value.fget, value.fset, value.fdel) if part is not None]
    if isinstance(value, functools.cached_property | cached_property):
        return [value.func]
    return [value]


def _module(value: Any) -> str:
    return str(getattr(value, "__module__", None) or "")


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _code_bytes(code: types.CodeType) -> bytes:
    constants = [
        _code_bytes(one) if isinstance(one, types.CodeType) else canonical(one)
        for one in code.co_consts
    ]
    named = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    exceptions = getattr(code, "co_exceptiontable", b"")
    return canonical((code.co_name, code.co_code, exceptions, constants, named, counts))


def _is_data(value: Any) -> bool:
    if isinstance(value, type | types.FunctionType):
        return False
    try:
        canonical(value)
    except UnseenError:
        return False
    return True


def _loose(value: Any) -> bytes:
    """The bytes of a plain value; of any other its type, which is all that can be seen of it."""
    try:
        return canonical(value)
    except UnseenError:
        return _record("object", type(value).__module__, type(value).__qualname__)


def _record(*texts: str) -> bytes:
    return canonical(texts)
