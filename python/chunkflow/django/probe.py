"""Has a view say which list it streams, in place of streaming it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_plans: ContextVar[list[tuple[Any, Any]] | None] = ContextVar("chunkflow_plans", default=None)


def takes(plan: Any, key: Any) -> bool:
    """Whether somebody asks for the plan, who gets it with the list's `key`."""
    found = _plans.get()
    if found is not None:
        found.append((plan, key))
    return found is not None


@contextmanager
def asking() -> Iterator[list[tuple[Any, Any]]]:
    """The plans of the lists that are asked for meanwhile."""
    found: list[tuple[Any, Any]] = []
    before = _plans.set(found)
    try:
        yield found
    finally:
        _plans.reset(before)
