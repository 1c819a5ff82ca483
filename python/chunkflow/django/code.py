"""What a function would do, as bytes: so that rows of old code are never shown by new code, nor
rows of one state of the program by another.

Seen are the function itself with its nested functions, constants and defaults, and what it reaches
by global names, imports and attributes: functions, classes and values of the project, and settings
that are read by name. Of the methods of a class, those count whose names the function mentions. A
project is every module that is not installed as a package, and what shares the first part of its
name with the function, one of the models or the urlconf. Values are read again at each request,
since a program may change them.

What is read and cannot be seen, such as a thread-local, is told as an `UnseenError`. Functions and
classes of other packages, templates and files are not looked into. After a change of these, change
`key=` or purge the list.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import importlib
import importlib.util
import logging
import operator
import os
import pathlib
import random
import sys
import sysconfig
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asgiref.local import Local
from django.conf import settings
from django.db import models
from django.db.models.manager import BaseManager
from django.utils import translation
from django.utils.functional import LazyObject, cached_property

from .bytecode import code_bytes, mentioned, uses
from .canonical import DEEPEST, UnseenError, canonical, digest

MOST = 5_000
"""How many functions and classes are looked at."""

REMEDY = "take it from the row, or pass `key=` with what it gives, or keep it in a plain value of a module"
REMEDY_OF_THREADS = (
    "take it from the row; or keep it in a ContextVar, which the threads that read have too, and "
    "pass `key=` with what it gives"
)

_NEVER = ("django", "rest_framework", "chunkflow")

# What gives access to any state of the program by a name that is made at run time.
_OPEN_NAMES = {"globals", "eval", "exec", "__import__"}
_OPEN_ATTRIBUTES = {
    ("os", "environ"),
    ("os", "environb"),
    ("os", "getenv"),
    ("sys", "modules"),
    ("sys", "_getframe"),
    ("importlib", "import_module"),
}

_MISSING = enum.Enum("_MISSING", "IT").IT  # type: ignore[attr-defined]


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

    if is_bare(function):
        return None
    try:
        canonical((function.__defaults__, function.__kwdefaults__, function.__dict__))
    except UnseenError as error:
        return f"a default or attribute of it cannot be seen: {error.what}"
    return None


class _Read:
    """A value that code reads: how to read it again, and what it was."""

    def __init__(
        self,
        read: Callable[[], Any],
        value: Any,
        data: bytes,
        leaves: list[Any],
        is_own: Callable[[Any], bool],
    ) -> None:
        self.read = read
        self.value = value
        self.data = data
        self.leaves = leaves
        """The functions, classes and other objects in it, of which only the identity is
        compared."""
        self.is_own = is_own
        self.is_fixed = _is_fixed(value) or (len(leaves) == 1 and leaves[0] is value)
        """Whether nothing can change while it is the same object."""
        self.parts = None if self.is_fixed else self._parts()
        """What is in it, where that is all that can change."""

    def _parts(self) -> list[Any] | None:
        try:
            parts = _fixed_parts(self.value, self.is_own)
            if parts is None or canonical(_shape(self.value, [], self.is_own)) != self.data:
                # Another thread has changed it since it was read.
                return None
            return parts if _is_same(_parts_of(self.value), parts) else None
        except (RuntimeError, UnseenError):
            return None

    def now(self) -> bytes | None:
        """Its bytes; `None` if there are other objects in it than there were."""
        value = self.read()
        if value is self.value and (self.is_fixed or self._has_same_parts()):
            return self.data

        leaves: list[Any] = []
        try:
            data = canonical(_shape(value, leaves, self.is_own))
        except UnseenError:
            return None
        if len(leaves) != len(self.leaves):
            return None
        if any(now is not then for now, then in zip(leaves, self.leaves, strict=True)):
            return None
        return data

    def _has_same_parts(self) -> bool:
        parts = self.parts
        if parts is None:
            return False
        try:
            now = _parts_of(self.value)
        except RuntimeError:
            # Another thread changes it.
            return False
        return _is_same(now, parts)


def _is_same(now: list[Any], then: list[Any]) -> bool:
    return len(now) == len(then) and all(map(operator.is_, now, then))


@dataclass
class _Node:
    """A function, a class, or a member of a class, with what it reads."""

    refers: list[Any] = field(default_factory=list)
    unseen: list[UnseenError] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """Attributes of anything that it may ask for."""
    members: dict[str, _Node] = field(default_factory=dict)
    relations: dict[str, Any] = field(default_factory=dict)
    takes_all: bool = False
    """Whether a framework calls the members of this class, by names that no own code mentions."""


class Code:
    """What a function and some classes reach, worked out once and then compared."""

    def __init__(
        self, roots: Iterable[Any], names: Iterable[str] = (), given: Sequence[Any] = ()
    ) -> None:
        roots = [_plain(root) for root in roots]
        modules = {_module(root) for root in roots}
        projects = {module.partition(".")[0] for module in modules}
        projects.add(str(settings.ROOT_URLCONF or "").partition(".")[0])
        self._projects = projects - {*_NEVER, ""}
        self._modules = modules
        self._root = roots[0]
        self._given = given
        self._nodes: dict[int, tuple[Any, _Node]] = {}
        self._reads: list[_Read] = []
        self._places: set[tuple[int, str]] = set()
        self._kept: list[Any] = []
        self._out: list[bytes] = []
        self.unseen: UnseenError | None = None

        self._look(roots)
        self._reach(roots, set(names))
        self._code = digest(self._out)
        self._as_it_was = self._with({})
        self._fixed = [(one.read, one.value) for one in self._reads if one.is_fixed]
        self._others = [(at, one) for at, one in enumerate(self._reads) if not one.is_fixed]

    def now(self) -> bytes | None:
        """The code, and the values that it reads as they are now; `None` if they are other objects,
        so that all must be worked out again."""
        # Nearly all are of this kind, and this is done for each request.
        is_changed = any(read() is not value for read, value in self._fixed)
        changed = {}
        for at, one in self._others if not is_changed else enumerate(self._reads):
            data = one.now()
            if data is None:
                return None
            if data != one.data:
                changed[at] = data
        return self._with(changed) if changed else self._as_it_was

    def _with(self, changed: Mapping[int, bytes]) -> bytes:
        values = [changed.get(at, one.data) for at, one in enumerate(self._reads)]
        return digest(self._code, values)

    def _look(self, roots: Iterable[Any]) -> None:
        waiting = list(reversed(list(roots)))
        while waiting:
            one = waiting.pop()
            if id(one) in self._nodes:
                continue
            if len(self._nodes) >= MOST:
                self.unseen = UnseenError(
                    f"the serializer reaches more than {MOST} functions and classes", REMEDY
                )
                return
            node = _Node()
            self._nodes[id(one)] = (one, node)
            if isinstance(one, type):
                self._of_class(one, node)
            else:
                self._of_function(one, node)
            waiting.extend(node.refers)
            for member in node.members.values():
                waiting.extend(member.refers)

    def _reach(self, roots: Iterable[Any], names: set[str]) -> None:
        """Finds what may be called, and the first thing of it that cannot be seen."""
        reached: dict[int, _Node] = {}
        waiting = list(roots)
        while waiting:
            one = waiting.pop(0)
            if id(one) not in self._nodes:
                self._look([one])
            if id(one) not in reached and id(one) in self._nodes:
                node = reached[id(one)] = self._nodes[id(one)][1]
                self._note(node)
                names |= node.names
                waiting.extend(node.refers)
            if waiting:
                continue

            for node in list(reached.values()):
                for name, member in node.members.items():
                    is_called = node.takes_all or name in names or name.startswith("__")
                    if is_called and id(member) not in reached:
                        reached[id(member)] = member
                        self._note(member)
                        waiting.extend(member.refers)
                for name, model in node.relations.items():
                    if name in names and id(model) not in reached and self._is_own(model):
                        waiting.append(model)

    def _note(self, node: _Node) -> None:
        # What rests on the thread is told first, since its rows can be read in one thread only.
        for error in node.unseen:
            if self.unseen is None or (error.is_of_thread and not self.unseen.is_of_thread):
                self.unseen = error

    def _is_own(self, value: Any) -> bool:
        module = _module(value)
        top = module.partition(".")[0]
        if top in _NEVER:
            return False
        if module in self._modules or top in self._projects:
            return True
        return _is_not_installed(module)

    def _of_function(self, function: types.FunctionType, node: _Node) -> None:
        label = f"{_module(function)}.{function.__qualname__}"
        self._out.append(_record("function", _module(function), function.__qualname__))
        self._out.append(code_bytes(function.__code__))
        node.names |= set(mentioned(function.__code__))
        # Those of the root are read by who asks: each call of a view may make it anew.
        if function is self._root:
            for leaf in self._given:
                self._leaf(leaf, label, node, True)
        for part in _GIVEN if function is not self._root else ():
            self._read(functools.partial(getattr, function, part), f"{label}.{part}", node)
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=False
        ):
            try:
                cell.cell_contents  # noqa: B018
            except ValueError:
                continue
            self._read(functools.partial(getattr, cell, "cell_contents"), f"{label}.{name}", node)

        for module, name, chain in sorted(uses(function), key=repr):
            if module is None:
                self._follow(function.__globals__, name, list(chain), node, f"{label}: {name}")
            else:
                self._import(module, [name, *chain] if name else list(chain), node, label)

    def _import(self, module: str, chain: list[str], node: _Node, label: str) -> None:
        try:
            there = importlib.import_module(module)
        except Exception:
            node.unseen.append(UnseenError(f"`{label}` imports `{module}`, which fails", REMEDY))
            return
        self._through(there, chain, node)

    def _follow(
        self, names: Any, name: str, chain: list[str], node: _Node, label: str, *, own: bool = True
    ) -> None:
        """What a global name means, or an attribute of it."""
        value = names.get(name, _MISSING)
        if isinstance(value, types.ModuleType):
            return self._through(value, chain, node)
        if value is _MISSING and name in _OPEN_NAMES:
            node.unseen.append(
                UnseenError(f"`{label}` may read anything, so what it reads cannot be seen", REMEDY)
            )
            return None
        if value is settings:
            return self._settings(chain, node, label)

        place = (id(names), name)
        read = functools.partial(names.get, name, _MISSING)
        is_new = place not in self._places
        self._places.add(place)
        self._read(read, label, node, is_kept=is_new, is_own=own)
        return None

    def _through(self, module: types.ModuleType, chain: list[str], node: _Node) -> None:
        own = self._is_own_module(module)
        if not chain:
            if own:
                node.unseen.append(
                    UnseenError(
                        f"the module `{module.__name__}` is used as a whole, so what is read of it "
                        "cannot be seen",
                        "import the names that are read",
                    )
                )
            return
        name = chain[0]
        label = f"{module.__name__}.{name}"
        if (module.__name__, name) in _OPEN_ATTRIBUTES:
            node.unseen.append(UnseenError(f"the serializer reads `{label}`", REMEDY))
            return
        names = vars(module)
        if name not in names and label in sys.modules:
            self._through(sys.modules[label], chain[1:], node)
            return
        self._follow(names, name, chain[1:], node, label, own=own)

    def _settings(self, chain: list[str], node: _Node, label: str) -> None:
        if not chain or not chain[0].isupper():
            node.unseen.append(
                UnseenError(
                    f"`{label}` is used as a whole, so what is read of it cannot be seen",
                    "read settings by name, `settings.SITE_ID`",
                )
            )
            return
        read = functools.partial(getattr, settings, chain[0], _MISSING)
        self._read(read, f"settings.{chain[0]}", node)

    def _read(
        self,
        read: Callable[[], Any],
        label: str,
        node: _Node,
        *,
        is_kept: bool = True,
        is_own: bool = True,
    ) -> None:
        value = read()
        leaves: list[Any] = []
        try:
            data = canonical(_shape(value, leaves, self._is_own))
        except UnseenError:
            leaves, data = [value], b""
        if is_kept:
            self._out.append(_record("read", label))
            self._reads.append(_Read(read, value, data, leaves, self._is_own))
        for leaf in leaves:
            self._leaf(leaf, label, node, is_own)

    def _leaf(self, value: Any, label: str, node: _Node, is_own: bool, depth: int = 0) -> None:
        """An object that code reads: one to look into, one that is nothing but itself, or one that
        cannot be seen."""
        if depth > DEEPEST:
            node.unseen.append(_cannot_see(value, label))
        elif isinstance(value, types.MethodType):
            self._leaf(value.__func__, label, node, is_own, depth + 1)
            if is_own and not isinstance(value.__self__, type):
                self._leaf(value.__self__, label, node, is_own, depth + 1)
        elif isinstance(value, types.FunctionType | type):
            if self._is_own(value):
                node.refers.append(value)
        elif isinstance(value, types.ModuleType):
            self._through(value, [], node)
        elif isinstance(value, types.BuiltinFunctionType):
            held = value.__self__
            if is_own and held is not None and not isinstance(held, type | types.ModuleType):
                self._leaf(held, label, node, is_own, depth + 1)
        elif (parts := _parts(value)) is not None:
            for part in parts:
                self._leaf(part, label, node, is_own, depth + 1)
        elif isinstance(value, BaseManager):
            self._leaf(type(value), label, node, is_own, depth + 1)
            self._leaf(getattr(value, "_queryset_class", None), label, node, is_own, depth + 1)
        elif value is not None and not _is_itself(value):
            node.unseen.append(_cannot_see(value, label))

    def _is_own_module(self, module: types.ModuleType) -> bool:
        name = module.__name__
        top = name.partition(".")[0]
        return top not in _NEVER and (top in self._projects or _is_not_installed(name))

    def _of_class(self, kind: type, node: _Node) -> None:
        label = f"{kind.__module__}.{kind.__qualname__}"
        self._out.append(_record("class", kind.__module__, kind.__qualname__))
        for base in kind.__mro__[1:]:
            if self._is_own(base):
                node.refers.append(base)
            else:
                self._out.append(_record("base", base.__module__, base.__qualname__))

        if self._is_own(type(kind)):
            node.refers.append(type(kind))

        names = vars(kind)
        # What a class gains later is worked out again.
        self._reads.append(_length(names))
        is_model = issubclass(kind, models.Model)
        node.takes_all = any(_module(base).startswith("rest_framework") for base in kind.__mro__)
        for name, value in sorted(names.items(), key=lambda item: item[0]):
            if name == "_meta" or (name.startswith("__") and not _is_code(value)):
                continue
            member = node.members[name] = _Node()
            if node.takes_all and name in _WRITING:
                member = _Node()
            if is_model and _module(type(value)).startswith("django."):
                # A field or a relation. What it gives is the row's.
                continue
            if hasattr(type(value), "__get__") and not self._is_known(value):
                # An attribute of another package's kind: what it calls is looked into.
                for held in list(getattr(value, "__dict__", {}).values()):
                    if isinstance(held, types.FunctionType):
                        self._leaf(held, f"{label}.{name}", member, True)
                node.members[name].refers = member.refers
                continue
            self._read(functools.partial(names.get, name, _MISSING), f"{label}.{name}", member)
            node.members[name].refers = member.refers
        if is_model:
            self._of_model(kind, node)

    def _is_known(self, value: Any) -> bool:
        kinds = (types.FunctionType, type, functools.partialmethod, *_DESCRIPTORS)
        return isinstance(value, kinds) or _parts(value) is not None or self._is_own(type(value))

    def _of_model(self, model: Any, node: _Node) -> None:
        for manager in model._meta.managers:
            member = node.members.setdefault(manager.name, _Node())
            self._leaf(manager, f"{model.__name__}.{manager.name}", member, True)
        for one in model._meta.get_fields():
            self._leaf(type(one), one.name, node, True)
            related = getattr(one, "related_model", None)
            if isinstance(related, type):
                # The other end of a relation of another model.
                is_reverse = isinstance(one, models.ForeignObjectRel)
                accessor = one.get_accessor_name() if is_reverse else one.name
                node.relations[accessor or one.name] = related
            choices = getattr(one, "flatchoices", None)
            if choices:
                with translation.override(None):
                    self._out.append(_record("choices", one.name) + _loose(list(choices)))


_GIVEN = ("__defaults__", "__kwdefaults__", "__dict__")


def is_bare(function: types.FunctionType) -> bool:
    """Whether a function has neither defaults nor attributes."""
    return not (function.__defaults__ or function.__kwdefaults__ or function.__dict__)


# What Django REST framework calls when it takes rows, not when it shows them.
_WRITING = {
    "create",
    "update",
    "save",
    "validate",
    "run_validation",
    "run_validators",
    "to_internal_value",
    "is_valid",
}


_known: weakref.WeakKeyDictionary[Any, dict[Any, Code]] = weakref.WeakKeyDictionary()


def look(
    root: Any, others: tuple[Any, ...] = (), names: Iterable[str] = ()
) -> tuple[bytes, UnseenError | None]:
    """The bytes of what a function or class does, together with `others`, which are models; and
    why not all of it can be seen, if so. `names` are attributes that others ask for."""
    root = _plain(root)
    held = root.__code__ if isinstance(root, types.FunctionType) else root
    variants = _known.setdefault(held, {})
    is_function = isinstance(root, types.FunctionType)
    leaves: list[Any] = []
    given = b""
    if is_function and not is_bare(root):
        parts = [getattr(root, part) for part in _GIVEN]
        given = _loose(_shape(parts, leaves, lambda _: False))
    # Functions made of one code may have other globals, so those are a part of the name. The code
    # keeps what has these numbers.
    numbers = tuple(map(id, leaves))
    name = (id(root.__globals__) if is_function else 0, numbers, others, tuple(names))
    code = variants.get(name)
    data = None if code is None else code.now()
    if code is None or data is None:
        if len(variants) >= 100:
            variants.clear()
        code = variants[name] = Code((root, *others), names, leaves)
        data = code.now()
    unseen = code.unseen
    if data is None:
        data = b""
        unseen = unseen or UnseenError("a value changes while it is read", REMEDY)
    return digest(sys.version_info[:3], given, data), unseen


def code_of(root: Any, others: tuple[Any, ...] = ()) -> bytes:
    """The bytes of what a function or class does, as far as it can be seen."""
    return look(root, others)[0]


def _shape(value: Any, leaves: list[Any], is_own: Callable[[Any], bool], depth: int = 0) -> Any:
    """A value as plain ones; each object in it that is not plain is put into `leaves`."""
    if depth > DEEPEST:
        raise UnseenError("a value is nested too deep", "give a plain value")

    kind = type(value)
    if kind in (tuple, list) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return ("each", kind is list, [_shape(one, leaves, is_own, depth + 1) for one in value])
    if isinstance(value, dict | types.MappingProxyType):
        pairs = [
            (_shape(name, leaves, is_own, depth + 1), _shape(one, leaves, is_own, depth + 1))
            for name, one in list(value.items())
        ]
        return ("pairs", pairs)
    if isinstance(value, _PARTIALS):
        parts = (value.func, value.args, value.keywords)
        return ("partial", _shape(parts, leaves, is_own, depth + 1))
    if isinstance(value, operator.itemgetter | operator.attrgetter | operator.methodcaller):
        return (kind.__name__, _shape(value.__reduce__()[1:], leaves, is_own, depth + 1))
    if _is_drf_field(value):
        leaves.append(kind)
        given = (value._args, value._kwargs, getattr(value, "child", None))
        return ("field", _name_of(kind), _shape(given, leaves, is_own, depth + 1))
    if isinstance(value, pathlib.PurePath):
        return ("path", str(value))
    if isinstance(value, enum.Enum) and value is not _MISSING:
        leaves.append(kind)
        more = {name: one for name, one in vars(value).items() if name not in _OF_MEMBERS}
        return ("member", value, _shape(more, leaves, is_own, depth + 1)) if more else value
    if isinstance(value, _FIXED) and getattr(value, "__dict__", None):
        return ("given", value, _shape(vars(value), leaves, is_own, depth + 1))

    if not isinstance(value, type) and not isinstance(value, types.FunctionType):
        if _is_plain_object(value, is_own):
            leaves.append(kind)
            held = _shape(vars(value), leaves, is_own, depth + 1)
            return ("object", _name_of(kind), held)
        # Environments and other mappings may be of any thread.
        if not isinstance(value, Mapping):
            try:
                canonical(value)
            except UnseenError:
                pass
            else:
                return value
    leaves.append(value)
    return ("leaf", _name_of(value if isinstance(value, type | types.FunctionType) else kind))


_OF_MEMBERS = {"_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_", "_label_"}


def _name_of(value: Any) -> str:
    return f"{_module(value)}.{value.__qualname__}"


def _is_plain_object(value: Any, is_own: Callable[[Any], bool]) -> bool:
    """Whether all of an object is in its attributes, and its class can be looked into."""
    kind = type(value)
    if kind is types.SimpleNamespace:
        return True
    if not hasattr(value, "__dict__") or isinstance(value, types.ModuleType):
        return False
    return all(
        base is object or (is_own(base) and not vars(base).get("__slots__"))
        for base in kind.__mro__
    )


def _is_drf_field(value: Any) -> bool:
    return hasattr(type(value), "_creation_counter") and any(
        base.__module__ == "rest_framework.fields" for base in type(value).__mro__
    )


_FIXED = (str, int, float, bool, bytes, complex, type(None))


def _is_fixed(value: Any) -> bool:
    """Whether nothing of a value can change."""
    if isinstance(value, tuple | frozenset):
        return all(_is_fixed(one) for one in value)
    # One of a class of the program may be given attributes.
    return isinstance(value, _FIXED) and not type(value).__dictoffset__


_PARTIALS = (functools.partial, functools.partialmethod)
_CONTAINERS = (dict, list, tuple, set, frozenset, *_PARTIALS)


def _parts_of(value: Any) -> list[Any]:
    if isinstance(value, _PARTIALS):
        named = value.keywords
        # What is an argument by its place is never one by its name.
        return [len(value.args), value.func, *value.args, *named, *named.values()]
    return [*value, *value.values()] if isinstance(value, dict) else list(value)


def _fixed_parts(value: Any, is_own: Callable[[Any], bool]) -> list[Any] | None:
    """What is in a container; `None` if it may change while it is the same object."""
    if type(value) not in _CONTAINERS:
        return None
    parts = _parts_of(value)
    return parts if all(_is_fixed(one) or _is_leaf(one, is_own) for one in parts) else None


def _is_leaf(value: Any, is_own: Callable[[Any], bool]) -> bool:
    """Whether of an object only the identity is compared."""
    leaves: list[Any] = []
    try:
        _shape(value, leaves, is_own)
    except UnseenError:
        return False
    return len(leaves) == 1 and leaves[0] is value


_LOCKS = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.Condition,
    threading.Semaphore,
    asyncio.Lock,
    asyncio.Semaphore,
)
_DESCRIPTORS = (
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.DynamicClassAttribute,
    types.GenericAlias,
    types.UnionType,
)


def _is_itself(value: Any) -> bool:
    """Whether an object holds nothing on which rows depend, beyond what it is."""
    if value is _MISSING or type(value) is object or isinstance(value, (*_LOCKS, *_DESCRIPTORS)):
        return True
    if isinstance(value, logging.Logger | logging.LoggerAdapter | random.Random):
        return True
    if isinstance(value, models.QuerySet | models.Model):
        return False
    module = _module(type(value))
    return module in ("typing", "_abc", "_collections", "dataclasses", "enum") or module.startswith(
        ("django.db.models.", "django.core.files.storage", "django.contrib.staticfiles.storage")
    )


def _is_code(value: Any) -> bool:
    return isinstance(value, types.FunctionType) or _parts(value) is not None


def _cannot_see(value: Any, label: str) -> UnseenError:
    kind = type(value)
    is_of_thread = _is_of_thread(value)
    return UnseenError(
        f"the serializer reads `{label}`, a {kind.__module__}.{kind.__qualname__}, whose value "
        "cannot be seen",
        REMEDY_OF_THREADS if is_of_thread else REMEDY,
        is_of_thread=is_of_thread,
    )


def _is_of_thread(value: Any) -> bool:
    """Whether an object may be another one in another thread."""
    kinds = (threading.local, Local, LazyObject)
    held = getattr(value, "__dict__", None) if not isinstance(value, kinds) else None
    if isinstance(value, kinds):
        return True
    if _module(type(value)) == "django.utils.connection":
        # Each thread has a connection of its own to one cache or database.
        return False
    if isinstance(held, dict) and any(isinstance(one, kinds) for one in list(held.values())):
        return True
    # A stand-in for an object that is found at each access.
    return any(
        "__getattr__" in vars(base)
        # Types written in C have one that finds what any object has.
        or isinstance(vars(base).get("__getattribute__"), types.FunctionType)
        for base in type(value).__mro__
    )


@functools.lru_cache(maxsize=10_000)
def _is_not_installed(module: str) -> bool:
    """Whether a module is no part of Python and of no package that is installed."""
    there = sys.modules.get(module)
    file = getattr(there, "__file__", None)
    if file is None:
        return False
    path = os.path.realpath(file)
    return not any(path.startswith(folder + os.sep) for folder in _folders())


@functools.lru_cache(maxsize=1)
def _folders() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {os.path.realpath(sysconfig.get_path(name)) for name in names}
    found = {one for one in sys.path if os.path.basename(one) in ("site-packages", "dist-packages")}
    return tuple(folders | {os.path.realpath(one) for one in found})


def _length(names: Any) -> _Read:
    read = functools.partial(len, names)
    count = read()

    def same() -> Any:
        # Another object stands for another length.
        return None if read() == count else _MISSING

    return _Read(same, None, b"", [None], bool)


def _plain(value: Any) -> Any:
    """The function within a method, a property or a decorated function."""
    if isinstance(value, types.MethodType):
        return value.__func__
    return value


def _parts(value: Any) -> list[Any] | None:
    """What a decorated function or an attribute of a class is made of; `None` for anything else."""
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [part for part in (value.fget, value.fset, value.fdel) if part is not None]
    if isinstance(value, functools.cached_property | cached_property):
        return [value.func]
    if isinstance(value, functools._lru_cache_wrapper):
        return [value.__wrapped__]
    return None


def _module(value: Any) -> str:
    return str(getattr(value, "__module__", None) or "")


def _loose(value: Any) -> bytes:
    """The bytes of a plain value; of any other its type, which is all that can be seen of it."""
    try:
        return canonical(value)
    except UnseenError:
        return _record("object", type(value).__module__, type(value).__qualname__)


def _record(*texts: str) -> bytes:
    return canonical(texts)
