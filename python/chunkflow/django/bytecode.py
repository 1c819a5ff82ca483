"""What the bytecode of a function asks for: global names, imports, and attributes."""

from __future__ import annotations

import dis
import importlib.util
import types
from collections.abc import Iterator, Sequence

from .canonical import canonical


def uses(function: types.FunctionType) -> set[tuple[str | None, str, tuple[str, ...]]]:
    """The global names and the imports that a function uses: the module of an import or `None`, a
    name, and the attributes that are read of it."""
    found: set[tuple[str | None, str, tuple[str, ...]]] = set()
    package = function.__globals__.get("__package__") or ""
    waiting: list[tuple[types.CodeType, dict[str, tuple[str, str]]]] = [(function.__code__, {})]
    while waiting:
        code, outer = waiting.pop()
        steps = [one for one in dis.get_instructions(code) if one.opname not in _NO_STEPS]
        bound = {**outer, **_imports(steps, package)}
        for at, step in enumerate(steps):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
                if step.argval not in bound:
                    found.add((None, step.argval, _chain(steps, at)))
            elif not step.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD")):
                continue
            # Since Python 3.13 a cell that is given to a nested function is loaded as others are.
            cells = code.co_cellvars + code.co_freevars if "DEREF" not in step.opname else ()
            for name in step.argval if isinstance(step.argval, tuple) else (step.argval,):
                if name in bound and name not in cells:
                    module, attribute = bound[name]
                    found.add((module, attribute, _chain(steps, at)))
        waiting.extend((one, bound) for one in code.co_consts if isinstance(one, types.CodeType))
    return found


_NO_STEPS = {"CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL"}


def _imports(steps: Sequence[dis.Instruction], package: str) -> dict[str, tuple[str, str]]:
    """What a function imports: for each name that it binds, a module and an attribute of it."""
    bound: dict[str, tuple[str, str]] = {}
    for at, step in enumerate(steps):
        if step.opname != "IMPORT_NAME" or at < 2:
            continue
        level, wanted = steps[at - 2].argval, steps[at - 1].argval
        module = step.argval
        if level:
            module = importlib.util.resolve_name("." * level + module, package)
        following = iter(steps[at + 1 :])
        if not wanted:
            is_renamed = False
            for one in following:
                if one.opname.startswith("STORE_"):
                    bound[one.argval] = (module if is_renamed else module.partition(".")[0], "")
                    break
                is_renamed = True
            continue
        attribute = None
        for one in following:
            if one.opname == "IMPORT_FROM":
                attribute = one.argval
            elif one.opname.startswith("STORE_") and attribute is not None:
                name = one.argval[0] if isinstance(one.argval, tuple) else one.argval
                bound[name] = (module, attribute)
                attribute = None
            elif one.opname == "POP_TOP":
                break
    return bound


def _chain(steps: Sequence[dis.Instruction], at: int) -> tuple[str, ...]:
    """The attributes that are read of what is loaded at a place."""
    chain: list[str] = []
    for one in steps[at + 1 :]:
        if one.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
            break
        chain.append(one.argval)
    if not chain and at and steps[at - 1].argval in ("getattr", "hasattr") and len(steps) > at + 1:
        name = steps[at + 1]
        if name.opname == "LOAD_CONST" and isinstance(name.argval, str):
            return (name.argval,)
    return tuple(chain)


def mentioned(code: types.CodeType) -> Iterator[str]:
    """The names of attributes that a code may ask for, those in its texts too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from mentioned(constant)
        else:
            for one in constant if isinstance(constant, tuple | frozenset) else (constant,):
                if isinstance(one, str):
                    yield from one.replace("__", ".").split(".")
                    yield one


def code_bytes(code: types.CodeType) -> bytes:
    """All that a code would do, nested ones too."""
    constants = [
        code_bytes(one) if isinstance(one, types.CodeType) else canonical(one)
        for one in code.co_consts
    ]
    named = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    exceptions = getattr(code, "co_exceptiontable", b"")
    return canonical((code.co_name, code.co_code, exceptions, constants, named, counts))
