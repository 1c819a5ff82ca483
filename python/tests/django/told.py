"""What is told, in a list."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from django.db import transaction

from chunkflow.django import telling


@dataclass
class Tell:
    """What was told at once."""

    aliases: list[str]
    rows: list[telling.Row]
    tables: list[str]

    def keys(self, table: str) -> set[tuple[str, ...]]:
        return {row.key for row in self.rows if row.table == table}

    def row(self, table: str) -> telling.Row:
        (row,) = [row for row in self.rows if row.table == table]
        return row


@dataclass
class Told:
    """All tells, in place of those of the flow."""

    tells: list[Tell] = field(default_factory=list)

    def send(self, aliases: list[str], rows: list[telling.Row], tables: list[str]) -> str:
        self.tells.append(Tell(aliases, rows, tables))
        return f"0123456789abcdef.{len(self.tells)}.0123456789abcdef"

    def one(self) -> Tell:
        """The only tell since the last look."""
        assert len(self.tells) == 1, self.tells
        return self.tells.pop()

    def nothing(self) -> bool:
        return not self.tells


class UndoneError(Exception):
    """What a transaction is rolled back by."""


@contextmanager
def rolled_back(using: str = "default") -> Iterator[None]:
    """A transaction, or a savepoint, that is rolled back."""
    with suppress(UndoneError), transaction.atomic(using=using):
        yield
        raise UndoneError
