"""What of the database decides which rows a connection sees, as far as it can be seen.

Rows are read on another connection than the request's: one of a thread of the pool. So what the
request's connection was told is either told to that one too (the schema of django-tenants, the
settings of `session=`), or the rows are read on the request's own and not cached.
"""

from __future__ import annotations

import gc
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from .canonical import UnseenError
from .recent import Recent

_BY_SESSION = re.compile(
    r"\b(current_setting|set_config|current_user|session_user|user|current_role|current_schemas?|"
    r"pg_backend_pid|txid_current|connection_id|last_insert_id)\s*\(|"
    r"\b(current_user|session_user|current_role)\b|@@?\w",
    re.IGNORECASE,
)
"""What SQL says of the session that executes it."""

_HARMLESS = re.compile(
    r"time_?zone|.*_timeout|max_execution_time|max_statement_time|client_encoding|names|character|"
    r"application_name|client_min_messages|log_.*|datestyle|intervalstyle|extra_float_digits|"
    r"bytea_output|work_mem|maintenance_work_mem|temp_buffers|jit.*|enable_.*|.*_cost|"
    r"max_parallel_.*|cursor_tuple_fraction|synchronous_commit|constraints|transaction|"
    r"transaction_.*|tx_isolation|default_transaction_.*|characteristics|autocommit|"
    r"foreign_key_checks|unique_checks|sql_auto_is_null|sql_mode|sql_log_bin|nls_.*",
    re.IGNORECASE,
)
"""Settings by which no session sees other rows than the next one does."""

_PIECES = re.compile(
    r"/\*.*?\*/|--[^\n]*|(?P<text>'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`)|"
    r"\$(?P<tag>\w*)\$(?P<body>.*?)\$(?P=tag)\$",
    re.DOTALL,
)
"""What of SQL is a comment, a text or a quoted name."""

_MAY_TELL = re.compile(
    r"\b(set|reset|discard|use|attach|detach|set_config|case_sensitive_like)\b", re.IGNORECASE
)
_STATEMENT = re.compile(
    r"\s*(?P<word>set|reset|discard|use|attach|detach|alter\s+session\s+set|"
    r"pragma\s+(?:\w+\.)?case_sensitive_like)\b(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_SCOPE = re.compile(r"\s*(?:(?:local|session|global)\s+|@@(?:session|global|local)\.|@@)", re.I)
_NAME = re.compile(r"\s*([@\w.\"`]+)")
_MORE_NAMES = re.compile(r",\s*(?:(?:session|global|local)\s+|@@(?:\w+\.)?)?([@\w.]+)\s*:?=", re.I)
_SET_CONFIG = re.compile(r"\bset_config\s*\(\s*('[^']*'|[^,]*?)\s*,", re.IGNORECASE)

_ANYTHING = "*"
"""The name of what cannot be said."""

SESSION_REMEDY = (
    "pass `session={'app.tenant': …}`: settings that are in the key and told to the connection "
    "that reads"
)


class BySessionError(UnseenError):
    """A session decides which rows it sees, so they are read on the request's own connection."""


class Place(NamedTuple):
    """A database, and the schema that a connection to it was told."""

    alias: str
    settings: str
    schema: str | None

    @staticmethod
    def of(alias: str) -> Place:
        """That of an alias, as its settings are now."""
        settings = connections[alias].settings_dict
        # Not the password: a new one does not change rows.
        names = ("ENGINE", "NAME", "HOST", "PORT", "USER", "TIME_ZONE")
        options = {
            name: value if isinstance(value, str | int | float | bool | None) else repr(value)
            for name, value in sorted((settings.get("OPTIONS") or {}).items())
            if name not in ("password", "passwd")
        }
        # One text, since it is made for each request.
        text = repr(([str(settings.get(name, "")) for name in names], options))
        return Place(alias, text, None)


def has_tenants(alias: str) -> bool:
    """Whether the database's backend has a schema for each tenant, as django-tenants has."""
    return hasattr(type(connections[alias]), "set_schema") or hasattr(
        connections[alias], "schema_name"
    )


class Schema(NamedTuple):
    """The schema of a connection, as django-tenants has it."""

    name: str
    tenant: Any
    with_public: bool

    def text(self) -> str:
        """It, for the key."""
        return self.name if self.with_public else f"{self.name} alone"


def schema_of(alias: str) -> Schema | None:
    """The schema that this thread's connection was told, with its tenant."""
    connection: Any = connections[alias]
    name = getattr(connection, "schema_name", None)
    if name is None:
        return None
    with_public = bool(getattr(connection, "include_public_schema", True))
    return Schema(str(name), getattr(connection, "tenant", None), with_public)


@contextmanager
def told(alias: str, schema: Schema | None, session: Mapping[str, str]) -> Iterator[None]:
    """This thread's connection, told what the request's was."""
    connection: Any = connections[alias]
    before = getattr(connection, "_chunkflow_told", None)
    if schema is not None:
        more = {} if schema.with_public else {"include_public": False}
        if schema.tenant is not None and hasattr(connection, "set_tenant"):
            connection.set_tenant(schema.tenant, **more)
        else:
            connection.set_schema(schema.name, **more)
    try:
        if session:
            _set(connection, session)
        yield
    finally:
        if session:
            # What one request set must not be there for the next. A connection that cannot be
            # told so is closed.
            try:
                _reset(connection, session)
            except Exception:
                connection.close()
                raise
            if before is None:
                connection._chunkflow_told = None


def _set(connection: Any, session: Mapping[str, str]) -> None:
    if connection.vendor != "postgresql":
        raise UnseenError(
            f"`session=` is for PostgreSQL, not for {connection.vendor}", "use `key=`"
        )
    with connection.cursor() as cursor:
        calls = ", ".join(["set_config(%s, %s, false)"] * len(session))
        cursor.execute(f"SELECT {calls}", [part for pair in session.items() for part in pair])


def _reset(connection: Any, session: Mapping[str, str]) -> None:
    quote = connection.ops.quote_name
    with connection.cursor() as cursor:
        for name in reversed(list(session)):
            cursor.execute("RESET " + ".".join(quote(part) for part in name.split(".")))


def check_sql(sql: str) -> None:
    """Raises `UnseenError` for SQL whose rows depend on the session."""
    found = _BY_SESSION.search(_without_texts(sql))
    if found:
        raise BySessionError(
            f"the query asks for `{found[0].strip(' (')}`, which a session decides", SESSION_REMEDY
        )


def _without_texts(sql: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", " ", sql)


# What the catalogue said of a table or function: why a session decides what it gives, or nothing.
_said: Recent[tuple[Place, str], str] = Recent(50_000)


# A function may ask for anything, unless it is declared to depend on its arguments only or belongs
# to an extension.
_MAY_ASK = """
    p.provolatile <> 'i' AND p.pronamespace <> 'pg_catalog'::regnamespace AND NOT EXISTS (
        SELECT FROM pg_depend e
        WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
"""

# All that a relation is made of: itself, and for a view what its rule reads, to any depth.
_ASK_TABLE = f"""
WITH RECURSIVE reads(oid) AS (
    SELECT to_regclass(%s)::oid
    UNION
    SELECT d.refobjid FROM reads
    JOIN pg_rewrite w ON w.ev_class = reads.oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
        AND d.refclassid = 'pg_class'::regclass
)
SELECT c.relname, c.relrowsecurity,
    CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END,
    (SELECT min(p.proname) FROM pg_rewrite w
     JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
        AND d.refclassid = 'pg_proc'::regclass
     JOIN pg_proc p ON p.oid = d.refobjid
     WHERE w.ev_class = c.oid AND {_MAY_ASK})
FROM reads JOIN pg_class c ON c.oid = reads.oid
"""

_ASK_FUNCTION = f"SELECT 1 FROM pg_proc p WHERE p.proname = %s AND {_MAY_ASK} LIMIT 1"

_CALL = re.compile(r"\b([a-z_][a-z0-9_$]*)\s*\(", re.IGNORECASE)


def functions_of(sql: str) -> set[str]:
    """The names in SQL that may be those of functions, each with `()`."""
    return {f"{name.lower()}()" for name in _CALL.findall(_without_texts(sql))}


def unasked(place: Place, names: Iterable[str]) -> list[str]:
    """The tables and functions of which the catalogue was not asked yet in this process."""
    if connections[place.alias].vendor != "postgresql":
        return []
    return [name for name in names if _said.get((place, name)) is None]


def ask(place: Place, names: Iterable[str]) -> None:
    """Asks the catalogue of tables and functions, on this thread's connection."""
    for name in names:
        if name.endswith("()"):
            why = _why_function(place.alias, name)
        else:
            why, is_there = _why_table(place.alias, name)
            if not is_there:
                # It may be made later.
                continue
        _said.put((place, name), why or "")


def check(place: Place, names: Iterable[str]) -> None:
    """Raises `BySessionError` if a session decides what a table or function gives."""
    for name in names:
        why = _said.get((place, name))
        if why:
            raise BySessionError(why, SESSION_REMEDY)


def _why_function(alias: str, name: str) -> str | None:
    with connections[alias].cursor() as cursor:
        cursor.execute(_ASK_FUNCTION, [name.removesuffix("()")])
        if cursor.fetchone() is None:
            return None
    return f"the query calls the function `{name}`, which may ask for what a session decides"


def _why_table(alias: str, table: str) -> tuple[str | None, bool]:
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(_ASK_TABLE, [connection.ops.quote_name(table)])
        rows = cursor.fetchall()

    for name, is_secured, definition, function in rows:
        if is_secured:
            return (
                f"the table `{name}` has row-level security, so a session decides which rows it shows"
            ), True
        if definition and _BY_SESSION.search(_without_texts(definition)):
            return f"the view `{name}` asks for what a session decides", True
        if function:
            return (
                f"the view `{name}` calls the function `{function}`, which may ask for what a session "
                "decides"
            ), True
    return None, bool(rows)


def forget() -> None:
    """Has the catalogue asked again: a migration may have changed what it says."""
    _said.clear()


# Every connection that this process has opened, to know without asking each thread whether any of
# them is in a transaction.
_opened: weakref.WeakSet[BaseDatabaseWrapper] = weakref.WeakSet()
_opened_lock = threading.Lock()
_looked = threading.Event()


class _Watching:
    """Notes on a connection that the program has told it which rows it sees."""

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        connection = context["connection"]
        text = _text_of(sql, connection)
        if text is None:
            _tell(connection, "a statement that has no text", {_ANYTHING})
        elif _MAY_TELL.search(text):
            names = set_by(text, None if many else params)
            if names:
                _tell(connection, text[:100], names)
        return execute(sql, params, many, context)


def _tell(connection: Any, text: str, names: set[str]) -> None:
    if getattr(connection, "_chunkflow_told", None) is None:
        connection._chunkflow_told = text
        connection._chunkflow_told_names = set()
    connection._chunkflow_told_names |= names


def _text_of(sql: Any, connection: Any) -> str | None:
    """The text of a statement; `None` if it cannot be made text."""
    if isinstance(sql, str):
        return sql
    if isinstance(sql, bytes | bytearray):
        return bytes(sql).decode("utf-8", "replace")
    try:
        # The statements of psycopg that are put together of parts.
        return str(sql.as_string(getattr(connection, "connection", None)))
    except Exception:
        return None


def set_by(sql: str, params: Any = None) -> set[str]:
    """The names of the settings by which a session sees other rows after these statements."""
    found: set[str] = set()
    pieces: list[str] = []

    def piece(match: re.Match[str]) -> str:
        if match["body"] is not None:
            # What a block of code executes is not read, only whether it may tell anything.
            pieces.append(match["body"])
            return " "
        # What is in a text is no statement.
        return re.sub(r"[;()]", " ", match["text"]) if match["text"] else " "

    bare = _PIECES.sub(piece, sql)
    if any(_MAY_TELL.search(body) for body in pieces) and re.match(r"\s*do\b", bare, re.I):
        found.add(_ANYTHING)
    for statement in bare.split(";"):
        match = _STATEMENT.match(statement)
        if match:
            found |= _names_in(match["word"].lower(), match["rest"])

    for call in _SET_CONFIG.finditer(bare):
        found.add(_argument(call[1], bare[: call.start(1)], params))
    return {name for name in found if not _HARMLESS.fullmatch(name)}


def _names_in(word: str, rest: str) -> set[str]:
    if word not in ("set", "reset") and not word.startswith("alter"):
        is_harmless = word == "discard" and rest.strip().lower() in ("plans", "sequences")
        return set() if is_harmless else {word}

    rest = _SCOPE.sub("", rest, count=1) if _SCOPE.match(rest) else rest
    first = _NAME.match(rest)
    if first is None:
        return {_ANYTHING}
    name = _plain_name(first[1])
    if name == "time" and re.match(r"\s*time\s+zone\b", rest, re.IGNORECASE):
        name = "timezone"
    return {name, *(_plain_name(one) for one in _MORE_NAMES.findall(rest))}


def _argument(argument: str, before: str, params: Any) -> str:
    """The name that `set_config` is called with."""
    value: Any = None
    if argument.startswith("'"):
        value = argument.strip("'")
    elif argument == "%s" and isinstance(params, list | tuple):
        at = before.count("%s")
        value = params[at] if at < len(params) else None
    elif isinstance(params, Mapping):
        value = params.get(argument.removeprefix("%(").removesuffix(")s"))
    return _plain_name(value) if isinstance(value, str) else _ANYTHING


def _plain_name(name: str) -> str:
    return re.sub(r"[\"`]", "", name).lower()


_watching = _Watching()


def _note(connection: BaseDatabaseWrapper) -> None:
    with _opened_lock:
        _opened.add(connection)
    if _watching not in connection.execute_wrappers:
        connection.execute_wrappers.append(_watching)


def _connected(sender: Any, connection: BaseDatabaseWrapper, **_: Any) -> None:
    connection._chunkflow_told = None  # type: ignore[attr-defined]
    _note(connection)


connection_created.connect(_connected, dispatch_uid="chunkflow.django.visible")


def _look() -> None:
    """Finds the connections that were open before this module was there."""
    _looked.set()
    for one in gc.get_objects():
        # Not `isinstance`, which would wake lazy objects.
        if issubclass(type(one), BaseDatabaseWrapper):
            _note(one)


def may_be_open(aliases: Iterable[str]) -> bool:
    """Whether any thread's connection to one of these databases is in a transaction, or was told
    which rows it sees. If not, this thread's is not."""
    if not _looked.is_set():
        _look()
    names = set(aliases)
    with _opened_lock:
        opened = list(_opened)
    return any(
        one.alias in names and (_in_transaction(one) or getattr(one, "_chunkflow_told", None))
        for one in opened
    )


def _in_transaction(connection: Any) -> bool:
    return bool(connection.in_atomic_block) or (
        not connection.autocommit and connection.connection is not None
    )


def is_in_memory(alias: str) -> bool:
    """Whether a database is in the memory of one connection, which no other thread has."""
    connection: Any = connections[alias]
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())


def open_here(main: str, aliases: Iterable[str], session: Iterable[str] = ()) -> str | None:
    """Why rows must be read on this thread's connections; `None` if they need not be. `session` are
    settings that are told to the connection that reads from the `main` database, and with tenants
    it is told the schema."""
    known = {_plain_name(name) for name in session}
    known |= {"search_path"} if has_tenants(main) else set()
    for alias in aliases:
        connection: Any = connections[alias]
        if _in_transaction(connection):
            return "transaction"
        told = getattr(connection, "_chunkflow_told", None)
        names = getattr(connection, "_chunkflow_told_names", None) or {_ANYTHING}
        if told and not (alias == main and names <= known):
            return f"the connection was told which rows it sees: `{told}`"
        if is_in_memory(alias):
            return "the database is in the memory of one connection"
    return None


def tables_of(queryset: models.QuerySet[Any], sql: str) -> set[str]:
    """All tables that a queryset's SQL names, those of its subqueries too."""
    tables: set[str] = set()
    # Django quotes an alias only if it is the name of a table.
    words = set(re.findall(r"\w+", sql))
    _tables_in(
        queryset.query,
        tables,
        set(),
        lambda alias: alias in words or not alias.isidentifier(),
    )
    return tables


def _tables_in(node: Any, tables: set[str], seen: set[int], is_used: Callable[[str], bool]) -> None:
    if node is None or id(node) in seen or isinstance(node, str | bytes | int | float):
        return
    seen.add(id(node))
    if isinstance(node, models.QuerySet):
        node = node.query

    parts: list[Any]
    if isinstance(node, models.sql.Query):
        # A join that turned out not to be needed stays in the map.
        used = [one for name, one in node.alias_map.items() if is_used(name)]
        tables.update(one.table_name for one in used)
        parts = [node.where, *node.annotations.values(), *node.combined_queries]
        parts += [getattr(one, "filtered_relation", None) for one in used]
        parts += [one for one in node.order_by if not isinstance(one, str)]
    else:
        parts = []
        for name in ("children", "lhs", "rhs", "query", "condition", "resolved_condition"):
            inner = getattr(node, name, None)
            parts.extend(inner if isinstance(inner, list | tuple) else (inner,))
        if hasattr(node, "get_source_expressions"):
            parts.extend(node.get_source_expressions())

    for part in parts:
        _tables_in(part, tables, seen, is_used)
