"""Gathers what a transaction changes, and tells it when the transaction is committed.

A savepoint that is rolled back takes its changes with it, so each savepoint has a hook of its own
among Django's `on_commit` hooks. The first of them that runs tells the changes of all.
"""

from __future__ import annotations

import functools
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count
from typing import ParamSpec, TypeVar

from django.core import mail
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

log = logging.getLogger("chunkflow")

MOST_ROWS = 10_000
"""If a transaction changes more rows of a table, all lists that show the table are purged."""

Values = Mapping[str, str | None]
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Row:
    """A row that has changed: its table, the texts of its key, and values by column."""

    table: str
    key: tuple[str, ...]
    old: Values = field(default_factory=dict)
    new: Values = field(default_factory=dict)
    is_joint: bool = False
    """Whether it is a row of a join table whose own key is not known."""


@dataclass
class Token:
    """The token of the last tell of a request."""

    text: str | None = None


of_request: ContextVar[Token | None] = ContextVar("chunkflow_token", default=None)
"""Set by the middleware. Threads that work for the request share it."""


class Changes:
    """What was changed in one savepoint. Django calls it after the commit."""

    def __init__(self, alias: str, among: weakref.WeakSet[Changes], number: int) -> None:
        self.alias = alias
        self.rows: dict[tuple[object, ...], Row] = {}
        self.counts: dict[str, int] = {}
        self.tables: set[str] = set()
        self.is_told = False
        self.among = among
        self.number = number
        self.__qualname__ = "chunkflow.django: tell of changes"  # Django logs the name of a hook.
        among.add(self)

    def add(self, rows: Iterable[Row], tables: Iterable[str]) -> None:
        for table in tables:
            self._add_table(table)

        for row in rows:
            if row.table in self.tables:
                continue
            pairs = (tuple(row.old.items()), tuple(row.new.items())) if row.is_joint else ()
            name = (row.table, row.key, pairs)
            before = self.rows.get(name)
            if before is None:
                self.counts[row.table] = self.counts.get(row.table, 0) + 1
                self.rows[name] = row
            elif not row.is_joint:
                # It was as it was before the first change, and is as it is after the last.
                old = {**row.old, **before.old}
                self.rows[name] = Row(row.table, row.key, old, row.new)

            if self.counts[row.table] > MOST_ROWS:
                self._add_table(row.table)

    def _add_table(self, table: str) -> None:
        self.tables.add(table)
        if self.counts.pop(table, 0):
            self.rows = {name: row for name, row in self.rows.items() if row.table != table}

    def __call__(self) -> None:
        if self.is_told:
            return

        # What was rolled back is not among them: Django has dropped the hook, which was the only
        # reference.
        pending = [one for one in self.among if not one.is_told]
        whole = Changes(self.alias, weakref.WeakSet(), 0)
        for one in sorted(pending, key=lambda one: one.number):
            one.is_told = True
            whole.add(one.rows.values(), one.tables)
        tell(self.alias, list(whole.rows.values()), sorted(whole.tables))


numbers = count()


def note(alias: str, rows: Iterable[Row] = (), tables: Iterable[str] = ()) -> None:
    """Tells of changed rows, and of tables of which any row may have changed, after the commit; or
    at once, outside of a transaction."""
    connection = transaction.get_connection(alias)
    changes = _pending(connection)
    if changes is not None:
        changes.add(rows, tables)
        return

    others = [one for one in _hooks(connection) if not one.is_told]
    among = others[0].among if others else weakref.WeakSet()
    changes = Changes(alias, among, next(numbers))
    changes.add(rows, tables)
    if not changes.rows and not changes.tables:
        return

    try:
        connection.on_commit(changes, robust=True)
    except TransactionManagementError:
        log.error(
            "a change of %s is not told, since nobody knows when it is committed: use "
            "transaction.atomic() in place of set_autocommit(False), or call changed() after the "
            "commit",
            ", ".join(sorted({row.table for row in changes.rows.values()} | changes.tables)),
        )
        return

    if connection.in_atomic_block and not _is_test_case(connection):
        # Django drops all hooks behind one that raises. And a hook that reads a list should see it
        # as it is now.
        hooks = connection.run_on_commit
        hooks.insert(0, hooks.pop())


def _hooks(connection: BaseDatabaseWrapper) -> Iterator[Changes]:
    """What is to be told after the commit, as far as it is not rolled back."""
    for entry in connection.run_on_commit:
        if isinstance(entry[1], Changes):
            yield entry[1]


def _pending(connection: BaseDatabaseWrapper) -> Changes | None:
    """The changes that are committed and rolled back with what is done now, if there are any."""
    if not connection.in_atomic_block:
        return None

    now = set(connection.savepoint_ids)
    for entry in connection.run_on_commit:
        savepoints, hook = entry[0], entry[1]
        if isinstance(hook, Changes) and not hook.is_told and savepoints == now:
            return hook
    return None


def _is_test_case(connection: BaseDatabaseWrapper) -> bool:
    """Whether a `TestCase` has begun the transaction. It is never committed, and
    `captureOnCommitCallbacks` counts on the order of the hooks."""
    return getattr(connection.atomic_blocks[0], "_from_testcase", False)


def tell(alias: str, rows: list[Row], tables: list[str]) -> None:
    """Tells now. A failure is logged, since nobody who has written can do anything about it."""
    if not rows and not tables:
        return

    for attempt in range(2):
        try:
            token = send(names(alias), rows, tables)
        except Exception:
            if attempt:
                log.exception(
                    "changes are not told: lists may show %d rows of %s as they were until "
                    "`ttl` and `stale` are over",
                    len(rows),
                    ", ".join(sorted({row.table for row in rows} | set(tables))),
                )
        else:
            held = of_request.get()
            if held is not None and token is not None:
                held.text = token
            return


def names(alias: str) -> list[str]:
    """The aliases that may lead to the same database, as those of its replicas do. Where they are
    other databases of the same name, some chunks are loaded again that need not be."""
    settings = connections.settings
    one = settings[alias]
    same = [
        name
        for name, other in settings.items()
        if other["ENGINE"] == one["ENGINE"] and other["NAME"] == one["NAME"]
    ]
    return same or [alias]


def send(aliases: list[str], rows: list[Row], tables: list[str]) -> str | None:
    """Tells the flow of this process, which tells the other processes. Returns the token, if they
    share a store."""
    from chunkflow._native import Change

    from .conf import conf, flow

    if hasattr(mail, "outbox") and not conf().cache_in_tests:
        # Tests run, in which nothing is cached.
        return None

    one = flow()
    token = None
    changes = [
        Change(row.table, row.key, database=alias, old=row.old, new=row.new)
        for alias in aliases
        for row in rows
    ]
    if changes:
        token = one.changed_sync(changes)
    for alias in aliases:
        for table in tables:
            token = one.purge_sync(table, database=alias)

    is_shared = bool(conf().store) and not conf().store.startswith("memory:")
    return token if is_shared else None


def harmless(work: Callable[P, R]) -> Callable[P, R | None]:
    """The same work; an exception is logged and not raised. For what happens in the middle of
    somebody's `save()`."""

    @functools.wraps(work)
    def safely(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return work(*args, **kwargs)
        except Exception:
            log.exception("a change may not be told: %s failed", work.__name__)
            return None

    return safely


def reading(alias: str) -> AbstractContextManager[None]:
    """Surrounds a query of ours. If it fails in a transaction of somebody else, that goes on."""
    is_inside = transaction.get_connection(alias).in_atomic_block
    return transaction.atomic(alias) if is_inside else nullcontext()
