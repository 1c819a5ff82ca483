"""What a database session decides is refused or kept apart, never shared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, models, transaction
from django.db.models.expressions import RawSQL
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from made import tricks
from psycopg import sql as parts
from tricks.models import Category, Comment, Organisation, Shown, Trick

from chunkflow.django import conf, stream_sync, visible
from chunkflow.django.saying import _said

pytestmark = pytest.mark.django_db(
    transaction=True, databases=["default", "other", "postgres", "tenants"]
)

POSTGRES = "postgres"
SETTING = "app.organisation"


@pytest.fixture(autouse=True)
def _new_flow() -> Iterator[None]:
    conf.forget()
    visible.forget()
    _said.clear()
    yield
    conf.forget()
    visible.forget()


def execute(sql: str, *params: Any, using: str = POSTGRES) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)


@pytest.fixture
def undo() -> Iterator[list[str]]:
    """SQL that is executed after the test."""
    statements: list[str] = []
    yield statements
    for sql in reversed(statements):
        execute(sql)
    connections[POSTGRES].close()


def serialize(trick: Trick) -> dict[str, Any]:
    return {"id": trick.pk, "title": trick.title}


def asked(queryset: models.QuerySet[Any], **options: Any) -> tuple[list[Any], bool]:
    """The rows, and whether this thread's connection read them."""
    options.setdefault("serialize", serialize)
    with CaptureQueriesContext(connections[queryset.db]) as queries:
        response = stream_sync(RequestFactory().get("/"), queryset, **options)
        rows = json.loads(response.content)["results"]
    table = queryset.model._meta.db_table
    return rows, any(table in one["sql"] and "pg_class" not in one["sql"] for one in queries)


def test_an_ordinary_table_is_cached_and_the_catalogue_asked_once() -> None:
    queryset = Trick.objects.using(POSTGRES).filter(organisation=tricks(5, POSTGRES))
    with CaptureQueriesContext(connections[POSTGRES]) as queries:
        for _ in range(3):
            rows, is_here = asked(queryset)
            assert (len(rows), is_here) == (5, False)
    assert len([one for one in queries if "pg_class" in one["sql"]]) == 1
    assert len([one for one in queries if "pg_proc p" in one["sql"]]) <= 1 + 1


def secured(undo: list[str], table: str = "tricks_trick") -> None:
    """Row-level security by a setting, and a role that is bound by it."""
    execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    undo.append(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")


def bound_role(undo: list[str]) -> None:
    execute("CREATE ROLE bound; GRANT USAGE ON SCHEMA public TO bound")
    undo.append("DROP OWNED BY bound; DROP ROLE bound")
    execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO bound")
    execute(
        "CREATE POLICY own ON tricks_trick TO bound USING "
        f"(organisation_id::text = current_setting('{SETTING}', true))"
    )
    undo.append("DROP POLICY own ON tricks_trick")


def test_a_table_with_row_level_security_is_not_cached(
    undo: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    both = [tricks(5, POSTGRES, seed=1), tricks(7, POSTGRES, seed=2)]
    secured(undo)
    bound_role(undo)
    execute("SET ROLE bound")
    connections[POSTGRES]._chunkflow_told = None  # type: ignore[attr-defined]
    queryset = Trick.objects.using(POSTGRES).all()
    try:
        for organisation, count in zip(both * 2, [5, 7] * 2, strict=True):
            execute(f"SELECT set_config('{SETTING}', %s, false)", str(organisation.pk))
            connections[POSTGRES]._chunkflow_told = None  # type: ignore[attr-defined]
            rows, is_here = asked(queryset)
            assert (len(rows), is_here) == (count, True)
    finally:
        execute("RESET ROLE")
    assert "row-level security" in caplog.text
    assert "session=" in caplog.text


def test_a_related_table_with_row_level_security_is_not_cached_either(undo: list[str]) -> None:
    queryset = Trick.objects.using(POSTGRES).filter(organisation=tricks(3, POSTGRES))
    secured(undo, "tricks_comment")
    for rows in (
        queryset.prefetch_related("comments"),
        queryset.prefetch_related(models.Prefetch("comments", Comment.objects.filter(text="x"))),
        queryset.annotate(number=models.Count("comments")),
        queryset.filter(pk__in=Comment.objects.using(POSTGRES).values("trick")),
        queryset.annotate(
            has=models.Exists(Comment.objects.using(POSTGRES).filter(trick=models.OuterRef("pk")))
        ),
    ):
        assert asked(rows)[1]
    assert not asked(queryset)[1]
    secured(undo, "tricks_trick_categories")
    visible.forget()
    assert asked(queryset.prefetch_related("categories"))[1]


def test_with_settings_that_it_names_it_is_cached_for_each_of_them(undo: list[str]) -> None:
    both = [tricks(5, POSTGRES, seed=1), tricks(7, POSTGRES, seed=2)]
    secured(undo)
    bound_role(undo)
    queryset = Trick.objects.using(POSTGRES).all()
    for organisation, count in zip(both * 2, [5, 7] * 2, strict=True):
        rows, is_here = asked(queryset, session={"role": "bound", SETTING: organisation.pk})
        assert (len(rows), is_here) == (count, False)


def test_with_a_key_it_is_cached(undo: list[str]) -> None:
    queryset = Trick.objects.using(POSTGRES).filter(organisation=tricks(5, POSTGRES))
    secured(undo)
    assert not asked(queryset, key="the owner")[1]


@pytest.mark.parametrize("key", ["", 0, (), (None, "")])
def test_a_key_that_is_empty_says_nothing_of_row_level_security(undo: list[str], key: Any) -> None:
    queryset = Trick.objects.using(POSTGRES).filter(organisation=tricks(5, POSTGRES))
    assert not asked(queryset, key=key)[1]
    secured(undo)
    visible.forget()
    assert asked(queryset, key=key)[1]


@pytest.mark.parametrize(
    "definition",
    [
        f"SELECT * FROM tricks_category WHERE slug = current_setting('{SETTING}', true)",
        "SELECT * FROM tricks_category WHERE slug <> current_user",
        "SELECT * FROM inner_view",
        "SELECT * FROM tricks_category WHERE slug <> mine()",
    ],
)
def test_a_view_of_what_a_session_decides_is_not_cached(undo: list[str], definition: str) -> None:
    execute(
        "CREATE VIEW inner_view AS SELECT * FROM tricks_category "
        f"WHERE slug <> coalesce(current_setting('{SETTING}', true), '')"
    )
    undo.append("DROP VIEW inner_view")
    execute(
        "CREATE FUNCTION mine() RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN ''x''; END'"
    )
    undo.append("DROP FUNCTION mine()")
    execute(f"CREATE VIEW shown AS {definition}")
    undo.append("DROP VIEW shown")

    assert asked(Shown.objects.using(POSTGRES).values("id", "slug"), serialize=None)[1]


def test_a_plain_view_is_cached(undo: list[str]) -> None:
    execute("CREATE VIEW shown AS SELECT id, upper(slug) AS slug FROM tricks_category")
    undo.append("DROP VIEW shown")

    assert not asked(Shown.objects.using(POSTGRES).values("id", "slug"), serialize=None)[1]


def test_a_query_that_asks_for_a_setting_is_not_cached() -> None:
    queryset = Trick.objects.using(POSTGRES).filter(organisation=tricks(5, POSTGRES))
    own = queryset.annotate(own=RawSQL(f"current_setting('{SETTING}', true)", ()))
    for value in ("a", "b"):
        execute(f"SELECT set_config('{SETTING}', %s, false)", value)
        connections[POSTGRES]._chunkflow_told = None  # type: ignore[attr-defined]
        rows, is_here = asked(own.values("id", "own"), serialize=None)
        assert is_here
        assert {row["own"] for row in rows} == {value}
    connections[POSTGRES].close()


@pytest.mark.parametrize(("volatility", "is_cached"), [("STABLE", False), ("IMMUTABLE", True)])
def test_a_query_that_calls_a_function_of_ones_own_is_cached_if_that_depends_on_nothing_else(
    undo: list[str], volatility: str, is_cached: bool
) -> None:
    execute(f"CREATE FUNCTION mine(t text) RETURNS text LANGUAGE sql {volatility} AS 'SELECT t'")
    undo.append("DROP FUNCTION mine(text)")
    queryset = Trick.objects.using(POSTGRES).filter(organisation=tricks(5, POSTGRES))
    own = queryset.annotate(own=models.Func("title", function="mine"))
    assert asked(own.values("id", "own"), serialize=None)[1] is not is_cached


def test_a_text_that_names_a_function_is_only_a_text() -> None:
    queryset = Trick.objects.using(POSTGRES).filter(organisation=tricks(5, POSTGRES))
    named = queryset.annotate(own=RawSQL("'current_setting(x)'", ()))
    assert not asked(named.values("id", "own"), serialize=None)[1]


def test_two_schemas_with_one_text_of_sql_are_not_shared(
    undo: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two"):
        execute(f"CREATE SCHEMA {name}")
        undo.append(f"DROP SCHEMA {name} CASCADE")
        execute(f"CREATE TABLE {name}.tricks_category (id bigint PRIMARY KEY, slug text)")
        execute(f"INSERT INTO {name}.tricks_category VALUES (1, '{name}')")
    undo.append("RESET search_path")
    queryset = Category.objects.using(POSTGRES).order_by("id").values("id", "slug")
    for name in ("one", "two", "one"):
        execute(f"SET search_path TO {name}, public")
        rows, is_here = asked(queryset, serialize=None)
        assert is_here
        assert [row["slug"] for row in rows] == [name]
    assert "search_path" in caplog.text


def test_tenants_with_a_schema_each_are_apart(undo: list[str]) -> None:
    for name in ("one", "two"):
        execute(f"CREATE SCHEMA {name}")
        undo.append(f"DROP SCHEMA {name} CASCADE")
        execute(f"CREATE TABLE {name}.tricks_category (id bigint PRIMARY KEY, slug text)")
        execute(f"INSERT INTO {name}.tricks_category VALUES (1, '{name}')")
    queryset = Category.objects.using("tenants").order_by("id").values("id", "slug")
    connection: Any = connections["tenants"]
    seen = []
    for name in ("one", "two", "one"):
        connection.set_schema(name)
        # As a view does before it comes to its list.
        assert Category.objects.using("tenants").get().slug == name
        rows, is_here = asked(queryset, serialize=None)
        assert [row["slug"] for row in rows] == [name]
        seen.append(is_here)
    assert seen == [False, False, False]
    connection.close()


def test_the_settings_of_one_load_are_gone_for_the_next() -> None:
    organisation = tricks(5, POSTGRES)
    queryset = Trick.objects.using(POSTGRES).filter(organisation=organisation)
    own = queryset.annotate(own=RawSQL(f"current_setting('{SETTING}', true)", ()))
    for value in ("a", "b"):
        rows, is_here = asked(own.values("id", "own"), serialize=None, session={SETTING: value})
        assert not is_here
        assert {row["own"] for row in rows} == {value}
    rows, _ = asked(own.values("id", "own"), serialize=None, key="none")
    assert {row["own"] for row in rows} <= {"", None}


def test_organisations_of_two_databases_are_apart() -> None:
    for using, count in (("default", 3), (POSTGRES, 4)):
        tricks(count, using)
    for using, count in (("default", 3), (POSTGRES, 4), ("default", 3)):
        assert len(asked(Trick.objects.using(using).all())[0]) == count
    assert Organisation.objects.count() == 1


def test_what_catalogues_say_is_kept_within_bounds_and_the_last_answers_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(visible._said, "most", 10)
    visible.forget()

    def schema(at: int) -> visible.Place:
        return visible.Place.of(POSTGRES)._replace(schema=f"tenant {at}")

    for at in range(100):
        visible.ask(schema(at), ["tricks_trick"])
        assert not visible.unasked(schema(at), ["tricks_trick"])
        assert not visible.unasked(schema(max(at - 4, 0)), ["tricks_trick"])
        assert len(visible._said) <= 20
    assert visible.unasked(schema(0), ["tricks_trick"])
    visible.forget()


TELLS: list[tuple[Any, set[str]]] = [
    ("SET search_path TO a", {"search_path"}),
    (b"SET search_path TO a", {"search_path"}),
    (parts.SQL("SET search_path TO {}").format(parts.Identifier("a")), {"search_path"}),
    ("/* of the application */ SET ROLE x", {"role"}),
    ("-- a note\nUSE other", {"use"}),
    ("BEGIN; SET ROLE x", {"role"}),
    ("SELECT ';'; set session role bob", {"role"}),
    ("SET LOCAL row_security = off", {"row_security"}),
    ("SET SCHEMA 'a'", {"schema"}),
    ("SET SESSION AUTHORIZATION bob", {"authorization"}),
    ('SET "app"."tenant" = 1', {"app.tenant"}),
    ("ATTACH DATABASE 'x' AS y", {"attach"}),
    ("DETACH DATABASE y", {"detach"}),
    ("RESET ALL", {"all"}),
    ("DISCARD ALL", {"discard"}),
    ("ALTER SESSION SET CURRENT_SCHEMA = other", {"current_schema"}),
    ("SET sql_mode = '', @@session.sql_select_limit = 5, @x = 2", {"sql_select_limit", "@x"}),
    ("SELECT set_config('app.tenant', '1', false)", {"app.tenant"}),
    ("SELECT set_config('statement_timeout', '1', false), set_config('role', 'x', true)", {"role"}),
    ("SELECT set_config(lower('ROLE'), 'x', true)", {"*"}),
    ("DO $$ BEGIN SET ROLE x; END $$", {"*"}),
    ("PRAGMA case_sensitive_like = ON", {"pragma case_sensitive_like"}),
]

HARMLESS = [
    "SET TIME ZONE 'UTC'",
    "SET SESSION TIME ZONE 'UTC'",
    "SET timezone = 'UTC'",
    "SET statement_timeout = '5s'",
    "SET LOCAL lock_timeout = 5",
    "SET client_encoding TO 'UTF8'",
    "SET NAMES 'utf8mb4'",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET CONSTRAINTS ALL IMMEDIATE",
    "SET SQL_AUTO_IS_NULL = 0",
    "DISCARD PLANS",
    "PRAGMA foreign_keys = ON",
    "UPDATE a SET role = 'x'",
    "UPDATE a SET text = 'x; SET ROLE y; set_config(''role'', 1)'",
    "SELECT 1 -- ; SET ROLE x",
    "SELECT set_config('statement_timeout', '5s', false)",
    "DO $$ BEGIN PERFORM 1; END $$",
]


class Told:
    """A connection that keeps what it was told."""

    connection = None
    _chunkflow_told: str | None = None
    _chunkflow_told_names: frozenset[str] = frozenset()


def told_by(sql: Any, params: Any = None) -> set[str]:
    connection = Told()
    visible._watching(lambda *_: None, sql, params, False, {"connection": connection})
    assert (connection._chunkflow_told is not None) == bool(connection._chunkflow_told_names)
    return set(connection._chunkflow_told_names)


@pytest.mark.parametrize(("sql", "names"), TELLS, ids=[str(sql) for sql, _ in TELLS])
def test_a_statement_tells_a_session_what_it_sees_in_any_form(sql: Any, names: set[str]) -> None:
    assert told_by(sql) == names


@pytest.mark.parametrize("sql", HARMLESS)
def test_a_setting_that_changes_no_rows_tells_nothing(sql: str) -> None:
    assert told_by(sql) == set()


def test_a_setting_that_is_named_by_a_parameter_tells_it() -> None:
    sql = "SELECT %s, set_config(%s, %s, false)"
    assert told_by(sql, ["x", "role", "bob"]) == {"role"}
    assert told_by(sql, ["role", "statement_timeout", "1"]) == set()
    assert told_by("SELECT set_config(%(name)s, 'x', false)", {"name": "role"}) == {"role"}
    assert told_by(sql) == {"*"}


def test_what_cannot_be_made_text_tells_anything() -> None:
    assert told_by(object()) == {"*"}


def test_a_setting_that_the_view_names_too_hinders_no_cache() -> None:
    queryset = Trick.objects.using(POSTGRES).filter(organisation=tricks(5, POSTGRES))
    execute(f"SELECT set_config('{SETTING}', '1', false)")
    assert asked(queryset)[1]
    for _ in range(2):
        assert not asked(queryset, session={SETTING: 1})[1]
    execute("SET enable_seqscan = off")
    assert not asked(queryset, session={SETTING: 1})[1]
    execute("SET row_security = off")
    assert asked(queryset, session={SETTING: 1})[1]
    connections[POSTGRES].close()


def test_settings_of_a_list_that_is_read_here_are_not_those_of_the_request() -> None:
    queryset = Trick.objects.using(POSTGRES).filter(organisation=tricks(5, POSTGRES))
    with transaction.atomic(using=POSTGRES):
        assert asked(queryset, session={SETTING: 1})[1]
    assert not asked(queryset)[1]
