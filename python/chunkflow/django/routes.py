"""From which database each model is read, as the program's routers say it in a request.

A router may ask what only the request's thread knows: the tenant. Rows are read in other threads,
and what is not named in the queryset is read there by the routers' word: `row.author`. So the
routers are asked in the request, and where they say something else in another thread, what they
said in the request counts.

Routers may also take one of several replicas by chance. Aliases between which a router changes
within one request are taken for one database.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, models, router
from django.db.models.base import ModelState

_here = threading.local()


class _Replay:
    """The first router: in threads that read for a request it answers as the others did there."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        routes: Routes | None = getattr(_here, "routes", None)
        return None if routes is None else routes.answer(model, hints)


_replay = _Replay()
_lock = threading.Lock()
# By alias, one of those that are the same database.
_alike: dict[str, str] = {}


def _own() -> list[Any]:
    """The program's routers."""
    return [one for one in router.routers if one is not _replay]


def has_routers() -> bool:
    """Whether the program has any."""
    return bool(_own())


def _ask(model: type[models.Model], **hints: Any) -> str | None:
    for one in _own():
        try:
            found = one.db_for_read(model, **hints) if hasattr(one, "db_for_read") else None
        except Exception:
            # Where it cannot say it, Django would not be able to read.
            found = None
        if found:
            return str(found)
    return None


def _normal(alias: str | None) -> str | None:
    return alias if alias is None else _alike.get(alias, alias)


def _join(one: str, other: str) -> None:
    with _lock:
        name = min(_alike.get(one, one), _alike.get(other, other))
        group = {one, other, _alike.get(one, one), _alike.get(other, other)}
        group |= {alias for alias, known in _alike.items() if known in group}
        _alike.update(dict.fromkeys(group, name))


def _row_of(model: type[models.Model], alias: str) -> models.Model:
    """A row that stands for those of a list, of which a router may ask where it comes from."""
    # Without `__init__`, which may be the program's.
    row = model.__new__(model)
    row._state = ModelState()
    row._state.db = alias
    row._state.adding = False
    return row


def routed(model: type[models.Model], of: type[models.Model], alias: str) -> str:
    """The database of what rows of another model lead to."""
    found = _ask(model, instance=_row_of(of, alias)) if _own() else None
    return alias if found is None or _normal(found) == _normal(alias) else found


class Routes:
    """What routers say in a request, for each model."""

    def __init__(self, model: type[models.Model], alias: str) -> None:
        self.alias = alias
        self._row = _row_of(model, alias)
        self._said: dict[type[models.Model], tuple[str | None, str | None]] = {}
        for one in apps.get_models(include_auto_created=True):
            first, second = _ask(one), _ask(one)
            if first is not None and second is not None and first != second:
                _join(first, second)
            self._said[one] = first, _ask(one, instance=self._row)

    @staticmethod
    def now(model: type[models.Model], alias: str) -> Routes | None:
        """What they say here; `None` if there are none."""
        return Routes(model, alias) if _own() else None

    def text(self) -> str:
        """It, for the key."""
        return ", ".join(
            f"{model._meta.label} {_normal(bare)} {_normal(hinted)}"
            for model, (bare, hinted) in self._said.items()
        )

    def aliases(self) -> set[str]:
        """All databases to which they lead."""
        found = {one for pair in self._said.values() for one in pair if one is not None}
        normal = {_normal(one) for one in found}
        return found | {one for one, known in list(_alike.items()) if known in normal}

    def answer(self, model: type[models.Model], hints: dict[str, Any]) -> str | None:
        """What they would say in the request; `None`: nothing."""
        there = self._said.get(model)
        if there is None:
            return None

        bare, hinted = there
        here = _normal(_ask(model)), _normal(_ask(model, instance=self._row))
        if here == (_normal(bare), _normal(hinted)):
            found = _ask(model, **hints)
        else:
            found = bare if hints.get("instance") is None else hinted
        if found is not None:
            return self.alias if _normal(found) == _normal(self.alias) else found
        instance = hints.get("instance")
        return (None if instance is None else instance._state.db) or DEFAULT_DB_ALIAS

    @contextmanager
    def replayed(self, known: set[str]) -> Iterator[None]:
        """Has this thread read as the request would. To a database that is not known neither the
        queryset nor a router has led, so it is one that was found by this thread's state."""
        with _lock:
            if router.routers[:1] != [_replay]:
                router.routers.insert(0, _replay)
        before = getattr(_here, "routes", None)
        _here.routes = self
        try:
            with ExitStack() as stack:
                for alias in set(connections) - known - self.aliases():
                    stack.enter_context(_refused(alias))
                yield
        finally:
            _here.routes = before


@contextmanager
def _refused(alias: str) -> Iterator[None]:
    """Has this thread's connection to a database refuse each statement."""

    def refuse(*_: Any) -> Any:
        raise RuntimeError(
            f"rows are written from the database `{alias}`, to which neither the queryset nor a "
            "router led in the request; name what is read there in select_related() or "
            "prefetch_related(), with `Prefetch(…, queryset=….using(…))`"
        )

    # Not `execute_wrapper()`, which takes the last one away: another may come when it connects.
    wrappers = connections[alias].execute_wrappers
    wrappers.append(refuse)
    try:
        yield
    finally:
        wrappers.remove(refuse)
