"""The native half of `chunkflow`: what a program gives to the library, and what it gets back.

Chunk boundaries, keys, the cache, single flight, compression, pages and problems are the
library's. Python gives rows.
"""

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from decimal import Decimal
from typing import Any, Literal, TypeAlias, final

__version__: str

Scalar: TypeAlias = bool | int | float | str | bytes | Decimal | None
"""A value of a key. Of a date or a UUID give the text that the database orders in the same way."""

Key: TypeAlias = tuple[Scalar, ...]
"""The values of the order's columns, which identify a row. A float without a fraction comes back
in `Fetch.after` as an int, since the two are equal."""

Row: TypeAlias = tuple[Key, bytes | str] | tuple[Key, bytes | str, Sequence[tuple[int, Key]]]
"""A row: its key, the JSON object that it is shown as, and, where the source `follows` tables, the
keys of the related rows that were looked up for it, found or not: each with the index of its
relation in `Follows.related`."""

Rows: TypeAlias = Callable[[Fetch], Iterable[Row] | Awaitable[Iterable[Row]] | AsyncIterable[Row]]
"""Gives the rows behind `fetch.after` in the list's order, at most `fetch.limit`. If there are
fewer, the list ends.

A plain function runs in a thread of the flow's pool, which keeps its thread-local state from one
call to the next. A coroutine function or an async generator function runs on the event loop on
which `open` was called, so that a driver's pool of that loop can be used; from `open_sync` it runs
on a loop of its own in a thread of the pool. No more of them run at once than the pool has
threads. A call is given up when nobody waits for its rows any more: a generator is closed, a
coroutine is cancelled."""

Condition: TypeAlias = Comparison | AllOf | AnyOf

@final
class Comparison:
    """A column compares like this: `column operator values`."""

    __match_args__ = ("column", "operator", "values")
    @property
    def column(self) -> str: ...
    @property
    def operator(
        self,
    ) -> Literal[
        "eq",
        "neq",
        "gt",
        "gte",
        "lt",
        "lte",
        "in",
        "not.in",
        "is.null",
        "is.not_null",
        "like",
        "not.like",
        "ilike",
        "not.ilike",
    ]: ...
    @property
    def values(self) -> tuple[str, ...]:
        """One value; any number for `in` and `not.in`; none for the tests of NULL. In patterns `*`
        stands for any text, as `%` does, and `_` for any character."""

@final
class AllOf:
    """Each of these holds; without any, every row meets it."""

    __match_args__ = ("parts",)
    @property
    def parts(self) -> tuple[Condition, ...]: ...

@final
class AnyOf:
    """At least one of these holds; without any, no row meets it."""

    __match_args__ = ("parts",)
    @property
    def parts(self) -> tuple[Condition, ...]: ...

@final
class Fetch:
    """What `rows` is asked for."""

    @property
    def after(self) -> Key | None:
        """The key of the last row that was read; `None` at the start."""
    @property
    def limit(self) -> int:
        """At most so many rows, never more than 500."""
    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What each row must meet: the request's filters. Where the list `follows` tables, also
        `in` or `eq` on the columns of its key, when it is asked which of some changed rows it
        has."""

@final
class Related:
    """A table whose rows are shown with the rows of a list.

    `key` names the columns of its key. `points` says which way:

    - `None`: the list's own row points to the related one (a foreign key, `select_related`). Give
      the related key with each row; a change of the related row touches the chunks that show it.
    - a column: the related row points to the owner by it (the reverse of a foreign key).
    - with `through`: a row of that join table, whose key is `through_key`, points to the owner by
      this column (many to many).
    """

    def __init__(
        self,
        table: str,
        key: Sequence[str],
        *,
        points: str | None = None,
        through: str | None = None,
        through_key: Sequence[str] = (),
    ) -> None: ...

@final
class Follows:
    """Where the rows of a list come from, so that told changes are judged.

    `table` and `key` are the list's own table and the columns of its key, which are among the
    columns of the list's order, with integers or texts as values. `others` are tables that shape
    rows in a way that is not followed: a change there touches every chunk. `database` is a name
    that `Flow(databases=…)` has. A list whose rows stand for several of a table, as groups do, has
    no table and key of its own: `None` and `()`."""

    def __init__(
        self,
        table: str | None,
        key: Sequence[str],
        *,
        database: str = "default",
        related: Sequence[Related] = (),
        others: Sequence[str] = (),
    ) -> None: ...

@final
class Source:
    """A list. A program makes one for each request, which is cheap: sources with equal `name`,
    `version`, `order`, `columns` and sizes share their chunks.

    **What `rows` depends on must be in `version`**: the tenant, the language, the code that writes
    the rows. Else one client gets another's rows.

    `order` names the columns of a row's key, `-` before a descending one. `columns` are the
    members of the rows, in order; CSV and `?select=` need them. Without them a row is sent as the
    object that it is. `filters` are columns that requests may filter by, each with the syntax of
    its values. `chunk_rows` and `chunk_bytes` are what a chunk holds on average. `envelope` is the
    member that holds the rows in JSON; `None`: the list is a bare array.

    `places` says what the values of a cursor mean. With equal `places` and `order` a client may go
    on from the cursor of another version; without them it may not.

    What cannot be raises `ValueError` with the remedy, here or when the list is first opened."""

    def __init__(
        self,
        name: str,
        version: bytes,
        rows: Rows,
        *,
        order: Sequence[str],
        columns: Sequence[str] | None = None,
        filters: Sequence[tuple[str, Literal["integer", "number", "text"]]] = (),
        ttl: float = 300.0,
        stale: float = 3600.0,
        envelope: str | None = "results",
        count: bool = False,
        compress: bool = True,
        chunk_rows: int = 50,
        chunk_bytes: int = 65536,
        follows: Follows | None = None,
        places: bytes | None = None,
    ) -> None: ...
    @property
    def name(self) -> str: ...

class Invalid(ValueError):  # noqa: N818 - what the request is
    """What a request asks for cannot be, for instance the value of a filter. Where `rows` raises
    it, the client gets its text, with status 400."""

class Cut(Exception):  # noqa: N818 - what happened to the list
    """A list broke off behind its first byte. Let it reach the server, which then breaks the
    connection: a client must not take what it got for the whole list."""

@final
class Reply:
    """The answer to a request. Iterate it once, by `for` or by `async for`; it gives pieces of
    64 KiB, or as much of one as is at hand, without leaving the thread or awaiting anything. A
    reply that is closed or dropped stops the work that was done for it.

    A list that breaks off raises `Cut`. So does one whose next piece was given up, for instance by
    `asyncio.timeout`: behind it some would be missing."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names are in lower case. `content-length` is there if the length is known."""
    @property
    def length(self) -> int | None: ...
    @property
    def is_stream(self) -> bool:
        """Whether the body is a list, not a problem or an empty body."""
    def __iter__(self) -> Iterator[bytes]: ...
    def __next__(self) -> bytes: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def __anext__(self) -> Awaitable[bytes]: ...
    def close(self) -> None: ...

@final
class Change:
    """A row of a table has changed: it was inserted, updated or deleted. Tell it after its
    transaction is committed.

    `key` has the texts of the primary key's values. `old` and `new` may hold values of order,
    filter and join columns, before and after, as far as they are known; above all of columns that
    point to the rows of lists. Without these every chunk of such a list is loaded again. `at` is
    the position of the commit in the database's log, where lists are read from a standby."""

    def __init__(
        self,
        table: str,
        key: Sequence[str],
        *,
        database: str = "default",
        old: Mapping[str, str | None] | None = None,
        new: Mapping[str, str | None] | None = None,
        at: str | None = None,
    ) -> None: ...
    @property
    def database(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def key(self) -> tuple[str, ...]: ...
    @property
    def old(self) -> dict[str, str | None]: ...
    @property
    def new(self) -> dict[str, str | None]: ...
    @property
    def at(self) -> str | None: ...

@final
class Flow:
    """The lists of a process: their store, and the threads that load them. One is enough.

    Nothing is opened before the first call, and a process that was forked opens all anew. `store`
    is a URL as in `chunkflow.toml`: `memory:`, `redis://…`, `memcached://…`. `memory` is how many
    bytes of chunks are kept in the process. `secret` (at least 32 bytes, or several, the newest
    first) encrypts cursors and authenticates chunks. `pool` threads run `rows`, so that there are
    at most so many database connections. `databases` are the names that changes are told under.

    Raises `ValueError`, with the remedy, for what cannot be."""

    def __init__(
        self,
        store: str = "memory:",
        *,
        memory: int = 67108864,
        prefix: str = "chunkflow:",
        secret: str | Sequence[str] | None = None,
        pool: int = 2,
        timeout: float = 10.0,
        databases: Sequence[str] = ("default",),
    ) -> None: ...
    def open(
        self,
        source: Source,
        target: str,
        headers: Iterable[tuple[str, str]],
        *,
        method: str = "GET",
        base: str | None = None,
        format: str | None = None,  # noqa: A002 - HTTP's word too
    ) -> Awaitable[Reply]:
        """Answers a request. `target` is its path and query, percent-encoded; only the query
        counts. `base` (`https://www.example.com`) is what absolute links begin with. `format`
        (`json`, `ndjson`, `csv`, `sse`) wins over `Accept`.

        If the first chunk is at hand, the awaitable is ready. If the task that awaits it is
        cancelled, the work stops, unless others wait for it too."""
    def open_sync(
        self,
        source: Source,
        target: str,
        headers: Iterable[tuple[str, str]],
        *,
        method: str = "GET",
        base: str | None = None,
        format: str | None = None,  # noqa: A002
    ) -> Reply: ...
    def changed(self, changes: Sequence[Change]) -> Awaitable[str]:
        """Tells that rows have changed. No list that begins here after that shows them as they
        were; elsewhere none does after two seconds, or at once with the token that this returns
        (`?at_least=TOKEN`). Raises `ConnectionError` if the other servers cannot be told."""
    def changed_sync(self, changes: Sequence[Change]) -> str: ...
    def purge(self, table: str, *, database: str = "default") -> Awaitable[str]:
        """Tells that any row of a table may have changed: every chunk of each list that follows it
        is loaded again."""
    def purge_sync(self, table: str, *, database: str = "default") -> str: ...
    def metrics(self) -> str:
        """The counters, as text for Prometheus."""
    def close(self) -> None:
        """Ends its threads and connections; calls under way end with an error. Python's exit does
        it too."""

# What the threads of `chunkflow._threads` work with.

def end() -> None:
    """Lets no thread wait in native code any more; for Python's exit."""

def left() -> None:
    """Waits until those that did are back."""

@final
class Line:
    """Work for a thread."""

    def take(self) -> tuple[Any, ...] | None:
        """Waits for the next function and its arguments; `None`: there will be none."""

@final
class Calls:
    """Calls of functions of rows that wait for a thread."""

    def take(self) -> Call | None:
        """Waits for the next call; `None`: there will be none."""

@final
class Call:
    """A call of a function of rows, and the rows that it has given."""

    @property
    def name(self) -> str: ...
    @property
    def rows(self) -> Callable[[Fetch], Any]: ...
    @property
    def fetch(self) -> Fetch: ...
    def runs_in(self, task: object) -> None: ...
    def is_wanted(self) -> bool: ...
    def add(self, row: object) -> bool: ...
    def done(self) -> None: ...
    def fail(self, error: BaseException) -> None: ...

@final
class Outcome:
    """What some work came to."""

    def take(self) -> Any: ...

def command(arguments: Sequence[str]) -> int:
    """Runs the command `chunkflow` with these arguments (the first is its name), and returns its
    exit code."""
