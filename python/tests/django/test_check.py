"""What `manage.py chunkflow_check` finds."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, connections
from django.test import override_settings
from django.urls import path
from watched import views
from watched.models import Author, Category, Item, Organisation, Trick

from chunkflow.django import checks
from chunkflow.django.addresses import addresses
from chunkflow.django.advice import Index
from chunkflow.django.workers import workers

pytestmark = [
    pytest.mark.django_db(databases=["default", "other"]),
    pytest.mark.urls("watched.views"),
]


class AllUrls:
    """The views that not every test looks at."""

    urlpatterns = [  # noqa: RUF012
        *views.urlpatterns,
        path("unindexed/", views.unindexed),
        path("asks/", views.asks_for_each),
        path("joined/", views.by_another_table),
        path("refused/", views.refused),
        path("postgres/<int:number>/", views.of_postgres),
    ]


@pytest.fixture
def every_url() -> Any:
    with override_settings(ROOT_URLCONF=AllUrls):
        yield


@pytest.fixture(autouse=True)
def rows() -> Iterator[None]:
    organisation = Organisation.objects.create(name="acme")
    author = Author.objects.create(name="a")
    for at in range(5):
        Category.objects.create(slug=f"c{at}")
        Item.objects.create(name=f"i{at}", organisation=organisation)
        Trick.objects.create(slug=f"t{at}", title="", organisation=organisation, author=author)
    with override_settings(
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    ):
        yield


def run(*arguments: str, status: int) -> list[dict[str, str]]:
    out = io.StringIO()
    ended = 0
    try:
        call_command("chunkflow_check", "--json", *arguments, stdout=out)
    except SystemExit as end:
        ended = int(end.code or 0)
    found: list[dict[str, str]] = json.loads(out.getvalue())
    assert ended == status, found
    return found


def of(found: list[dict[str, str]], name: str) -> dict[str, str]:
    (one,) = [one for one in found if one["id"] == name]
    return one


def serious(found: list[dict[str, str]]) -> list[str]:
    return [one["id"] for one in found if one["level"] != "info"]


def test_views_are_found_by_what_they_call() -> None:
    assert sorted(addresses(), key=str) == sorted(
        [
            ("/well/", "watched.views.well"),
            ("/listed/", "watched.views.Listed"),
            ("/decorated/", "watched.views.helped"),
            (None, "watched.views.of_one"),
            ("/more/of-users/", "watched.views.of_users"),
        ],
        key=str,
    )


def test_a_list_with_an_index_and_without_queries_is_well() -> None:
    assert serious(run("--url", "/well/", status=0)) == []


def test_a_view_with_arguments_is_named_and_looked_at_by_its_address() -> None:
    assert of(run(status=1), "chunkflow.I050")["list"] == "watched.views.of_one"
    assert serious(run("--url", "/organisations/1/items/", status=1)) == ["chunkflow.W021"]


def test_an_order_without_an_index_is_told_with_the_line_that_adds_it(every_url: None) -> None:
    one = of(run("--url", "/unindexed/", status=1), "chunkflow.W021")
    assert one["hint"] == (
        'In Meta.indexes of Trick: models.Index(fields=["-created", "-id"], '
        'name="trick_created_id")'
    )
    assert one["list"] == "/unindexed/"


def test_the_index_begins_with_what_the_list_is_filtered_by() -> None:
    one = of(run("--url", "/organisations/1/items/", status=1), "chunkflow.W021")
    assert 'fields=["organisation", "rank", "id"]' in one["hint"]


def test_with_that_index_the_list_is_well() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX added ON watched_item (organisation_id, rank)")
    assert serious(run("--url", "/organisations/1/items/", status=0)) == []


def test_a_filter_without_an_index_is_told(every_url: None) -> None:
    one = of(run("--url", "/unindexed/", status=1), "chunkflow.W023")
    assert "`title`" in one["message"]
    assert 'fields=["title"]' in one["hint"]


def test_an_order_that_is_not_unique_is_told_and_does_no_harm(every_url: None) -> None:
    one = of(run("--url", "/unindexed/", status=1), "chunkflow.I022")
    assert "`-id`" in one["message"]


def test_an_order_by_another_table_is_told(every_url: None) -> None:
    assert "chunkflow.W020" in serious(run("--url", "/joined/", status=1))


def test_a_serializer_that_asks_for_each_row_is_told_with_its_query(every_url: None) -> None:
    one = of(run("--url", "/asks/", status=1), "chunkflow.W031")
    assert "4 times for 4 rows" in one["message"]
    assert "watched_organisation" in one["message"]


def test_a_list_that_fails_is_an_error(every_url: None) -> None:
    one = of(run("--url", "/refused/", status=1), "chunkflow.E052")
    assert "random" in one["message"]


def test_a_list_for_users_is_looked_at_as_one_of_them() -> None:
    assert of(run("--url", "/more/of-users/", status=1), "chunkflow.E053")["hint"]

    user = get_user_model().objects.create_user("ada")
    assert serious(run("--url", "/more/of-users/", "--user", "ada", status=0)) == []
    user.refresh_from_db()
    assert user.last_login is None


def test_all_lists_are_looked_at_by_default() -> None:
    found = run(status=1)
    assert [one["list"] for one in found if one["id"] == "chunkflow.E053"] == ["/more/of-users/"]
    assert len(serious(found)) == 1


@pytest.mark.django_db(databases=["default", "other", "postgres"])
def test_an_index_of_postgresql_fits_in_either_direction_and_must_hold_the_key(
    every_url: None,
) -> None:
    def told() -> list[str]:
        found = run("--url", "/postgres/1/", status=1)
        return [one["id"] for one in found if one["id"] in ("chunkflow.W021", "chunkflow.W023")]

    # The filter by the unique name has an index, that by the rank has none.
    assert told() == ["chunkflow.W021", "chunkflow.W023"]
    with connections["postgres"].cursor() as cursor:
        cursor.execute("CREATE INDEX short ON watched_item (organisation_id, rank)")
        assert told() == ["chunkflow.W021"]
        cursor.execute("CREATE INDEX mixed ON watched_item (organisation_id, rank, id DESC)")
        assert told() == ["chunkflow.W021"]
        cursor.execute("CREATE INDEX whole ON watched_item (organisation_id, rank, id)")
    assert serious(run("--url", "/postgres/1/", status=0)) == []


@pytest.mark.parametrize(
    ("index", "same", "order", "fits"),
    [
        ("a", "", "a", True),
        ("-a", "", "a", True),
        ("a b", "", "a b", True),
        ("-a -b", "", "a b", True),
        ("a -b", "", "-a b", True),
        ("a -b", "", "a b", False),
        ("a", "", "a b", False),
        ("b a", "", "a b", False),
        ("x a b", "x", "a b", True),
        ("y x a b", "x y", "a b", True),
        ("a b", "x", "a b", False),
        ("x a", "", "a", False),
        ("x b", "x a", "a b", False),
        ("a x b", "x a", "a b", True),
        ("a b c", "", "a b", True),
    ],
)
def test_an_index_serves_an_order_of_rows_that_are_equal_in_what_they_are_filtered_by(
    index: str, same: str, order: str, fits: bool
) -> None:
    def columns(text: str) -> tuple[tuple[str, bool], ...]:
        return tuple((word.lstrip("-"), word[0] == "-") for word in text.split())

    equal = frozenset(same.split())
    assert Index(columns(index)).serves(equal, columns(order), equal) is fits


def test_a_list_in_a_transaction_of_each_request_is_told() -> None:
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        found = run("--url", "/organisations/1/items/", status=1)
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert "chunkflow.W011" in serious(found)


def test_it_is_readable_too(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("chunkflow_check", "--url", "/organisations/1/items/", stdout=out)
    assert "warning: /organisations/1/items/: the order and its filter has no" in out.getvalue()
    assert out.getvalue().endswith("1 thing to mend\n")


@pytest.mark.parametrize(
    ("environment", "files", "expected"),
    [
        ({}, {}, None),
        ({"WEB_CONCURRENCY": "4"}, {}, (4, "WEB_CONCURRENCY")),
        ({"GUNICORN_CMD_ARGS": "-b :80 --workers=3"}, {}, (3, "GUNICORN_CMD_ARGS")),
        ({}, {"gunicorn.conf.py": "workers = 5"}, (5, "gunicorn.conf.py")),
        (
            {},
            {"gunicorn.conf.py": "import os\nworkers = os.cpu_count() * 2 + 1"},
            (2, "gunicorn.conf.py"),
        ),
        ({}, {"gunicorn.conf.py": "workers ="}, None),
        ({}, {"Procfile": "web: gunicorn -w 3 a.wsgi\nworker: celery -w 9"}, (3, "Procfile")),
        ({}, {"Procfile": "web: uvicorn a.asgi:app --workers $N"}, (2, "Procfile")),
        (
            {},
            {"Dockerfile": 'CMD ["/venv/bin/gunicorn", "--workers", "4", "a.wsgi"]'},
            (4, "Dockerfile"),
        ),
        ({"WEB_CONCURRENCY": "1"}, {"Procfile": "web: gunicorn -w4 a"}, (4, "Procfile")),
        ({}, {"Procfile": "web: daphne a.asgi:app"}, None),
        ({}, {"Procfile": "web: sh -c 'gunicorn"}, None),
    ],
)
def test_the_number_of_workers_is_read_where_servers_read_it(
    tmp_path: Path,
    environment: dict[str, str],
    files: dict[str, str],
    expected: tuple[int, str] | None,
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert workers(environment, tmp_path) == expected


LOCAL = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
REDIS = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": "redis://127.0.0.1:1",
    }
}


def test_chunks_in_the_memory_of_several_workers_are_an_error(tmp_path: Path) -> None:
    with override_settings(CACHES=LOCAL):
        assert [one.id for one in checks.found({}, tmp_path) if one.is_serious()] == []
        (one,) = [
            one for one in checks.found({"WEB_CONCURRENCY": "2"}, tmp_path) if one.is_serious()
        ]
        assert one.id == "chunkflow.E002"
        assert of(run("--workers", "3", "--url", "/well/", status=1), "chunkflow.E002")
    with override_settings(CACHES=REDIS):
        found = checks.found({"WEB_CONCURRENCY": "2"}, tmp_path)
        assert [one.id for one in found] == ["chunkflow.I004"]


def test_the_checks_of_django_say_what_is_wrong_and_nothing_else() -> None:
    out = io.StringIO()
    call_command("check", "--tag", "chunkflow", stdout=out, stderr=out)
    assert "no issues" in out.getvalue()
    with override_settings(CHUNKFLOW={"STOR": "memory:"}):
        assert [one.id for one in checks.check()] == ["chunkflow.E001"]
