"""Lists over MariaDB, by PyMySQL."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pymysql
import pytest
from django.core.management import call_command
from django.db import connections
from django.db.models import Count
from django.test import AsyncRequestFactory, RequestFactory
from django.test.utils import CaptureQueriesContext
from made import tricks
from serializers import serialize
from test_order import ORDERS, walked, whole
from test_stream import abody, of, rows, usual
from tricks.models import Author, Everything, Organisation, Trick

from chunkflow.django import changed, conf, stream, stream_sync
from chunkflow.django.order import Keyset

ALIAS = "mariadb"
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", ALIAS])
GET = RequestFactory().get


@pytest.fixture(autouse=True, scope="module")
def _mariadb(mariadb: int, django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The tables. Other tests know nothing of this database."""
    pymysql.install_as_MySQLdb()
    there = {"host": "127.0.0.1", "port": mariadb, "user": "chunkflow"}
    with pymysql.connect(**there) as server:  # type: ignore[arg-type]
        server.cursor().execute("CREATE DATABASE tricks")
    connections.settings[ALIAS] = {
        **connections["default"].settings_dict,
        "ENGINE": "django.db.backends.mysql",
        "NAME": "tricks",
        "OPTIONS": {"charset": "utf8mb4"},
        **{name.upper(): str(value) for name, value in there.items()},
    }
    with django_db_blocker.unblock():
        call_command("migrate", database=ALIAS, run_syncdb=True, verbosity=0)
    yield
    conf.forget()
    connections[ALIAS].close()
    del connections[ALIAS], connections.settings[ALIAS]


@pytest.fixture(autouse=True)
def _new_flow() -> Iterator[None]:
    conf.forget()
    yield
    conf.forget()


def test_rows_read_on_from_row_to_row_are_those_of_one_query() -> None:
    tricks(40, ALIAS)
    for order in ORDERS:
        queryset = Trick.objects.using(ALIAS).order_by(*order)
        tie = "-pk" if Keyset(queryset).columns[-1].descending else "pk"
        expected = [one.pk for one in queryset.order_by(*order, tie)]
        assert len(expected) == 40
        for limit in (3, 40):
            assert [one.pk for one in walked(queryset, limit=limit)] == expected, (order, limit)
        back = queryset.reverse()
        assert [one.pk for one in walked(back)] == [one.pk for one in whole(back)], order


def test_each_size_of_a_run_gives_the_same_rows() -> None:
    tricks(40, ALIAS)
    queryset = Trick.objects.using(ALIAS).order_by("-rating", "edited")
    expected = [one.pk for one in whole(queryset)]
    for limit in (1, 2, 3, 39, 40, 41, 500):
        assert [one.pk for one in walked(queryset, limit=limit)] == expected


def test_texts_come_by_the_collation_of_their_column_and_equal_ones_by_their_keys() -> None:
    organisation = tricks(60, ALIAS)
    titles = ["one", "ONE", "Öne", "one ", "élan", "Elan", "ß", "s", "ss", "", "日本", "😀", "Zoë"]
    made = list(Trick.objects.using(ALIAS).all())
    for at, trick in enumerate(made):
        trick.title = titles[at % len(titles)]
    Trick.objects.using(ALIAS).bulk_update(made, ["title"])
    for order in (["title"], ["-title"], ["title", "-created"], ["author__name", "-title"]):
        queryset = of(organisation, ALIAS).order_by(*order)
        tie = "-id" if order[-1].startswith("-") else "id"
        expected = usual(queryset.order_by(*order, tie), serialize)
        for limit in (1, 7):
            assert [one.pk for one in walked(queryset, limit=limit)] == [
                row["id"] for row in expected
            ]
        assert rows(stream_sync(GET("/"), queryset, serialize)) == expected


def test_a_list_is_that_of_the_usual_view_cold_and_warm() -> None:
    for size in (0, 1, 50, 350):
        queryset = of(tricks(size, ALIAS, seed=size), ALIAS)
        expected = usual(queryset, serialize)
        assert len(expected) == size
        assert rows(stream_sync(GET("/"), queryset, serialize)) == expected
        with CaptureQueriesContext(connections[ALIAS]) as queries:
            assert rows(stream_sync(GET("/"), queryset, serialize)) == expected
        assert len(queries) == 0


async def test_a_view_that_is_async_gives_it_too() -> None:
    def made() -> tuple[Organisation, Any]:
        try:
            organisation = tricks(120, ALIAS)
            return organisation, usual(of(organisation, ALIAS), serialize)
        finally:
            connections.close_all()

    organisation, expected = await asyncio.to_thread(made)
    for _ in range(2):
        request = AsyncRequestFactory().get("/")
        response = await stream(request, of(organisation, ALIAS), serialize)
        assert json.loads(await abody(response))["results"] == expected


MOMENT = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
VALUES: dict[str, list[Any]] = {
    "amount": [Decimal(text) for text in ("0.000001", "-0.000001", "99999999999999.999999", "1.5")],
    "moment": [MOMENT + datetime.timedelta(microseconds=at) for at in (0, 1, 10, 999_999)],
    "real": [0.1, 0.30000000000000004, 1e300, -2.5e-300],
    "big": [2**63 - 1, -(2**63), 0, 1],
    "length": [datetime.timedelta(days=at, microseconds=at) for at in (-2, 0, 1, 400)],
    "time": [datetime.time(0, 0, 0, at) for at in (0, 1, 10, 999_999)],
    "truth": [True, False, True, False],
    "data": [b"", b"\x00", b"a", b"A"],
    "address": ["127.0.0.1", "::1", "10.0.0.1", "2001:db8::1"],
}


def test_each_kind_of_value_is_read_on_from_with_nothing_doubled_or_lost() -> None:
    made = [Everything(**{name: held[at % 4] for name, held in VALUES.items()}) for at in range(8)]
    made += [Everything() for _ in range(4)]
    Everything.objects.using(ALIAS).bulk_create(made)
    for name in VALUES:
        for order in ([name], [f"-{name}"], [name, "-pk"], [f"-{name}", "pk"]):
            queryset = Everything.objects.using(ALIAS).order_by(*order)
            expected = [one.pk for one in whole(queryset)]
            assert [one.pk for one in walked(queryset, limit=1)] == expected, order
            assert sorted(expected) == sorted(one.pk for one in queryset)


def test_a_told_change_is_in_the_list_and_costs_its_rows_alone() -> None:
    organisation = tricks(350, ALIAS)
    queryset = of(organisation, ALIAS)
    rows(stream_sync(GET("/"), queryset, serialize))
    one = queryset[200]
    one.title = "changed"
    one.save()
    changed(one)
    found = rows(stream_sync(GET("/"), queryset, serialize))
    assert found == usual(queryset.all(), serialize)
    assert found[200]["title"] == "changed"

    author = Author.objects.using(ALIAS).get(name="Grace")
    author.name = "Joan"
    author.save()
    changed(author)
    found = rows(stream_sync(GET("/"), queryset, serialize))
    assert found == usual(queryset.all(), serialize)
    assert "Joan" in {row["author"] for row in found}


def test_filters_are_those_of_the_orm() -> None:
    queryset = of(tricks(60, ALIAS), ALIAS)

    def asked(query: str) -> list[int]:
        request = GET(f"/?{query}")
        found = rows(
            stream_sync(request, queryset, serialize, filters=["title", "edited", "price"])
        )
        return [row["id"] for row in found]

    def found(**conditions: Any) -> list[int]:
        return [trick.pk for trick in queryset.filter(**conditions)]

    assert asked("title=eq.one") == found(title="one")
    assert asked("edited=is.null") == found(edited=None)
    assert asked("price=gte.1.00") == found(price__gte=Decimal("1.00"))
    assert asked("title=ilike.T*") == found(title__istartswith="t")
    assert asked("title=like.*o*") == found(title__contains="o")


def test_groups_are_told_apart_by_what_they_are_grouped_by() -> None:
    tricks(60, ALIAS)
    grouped = Trick.objects.using(ALIAS).values("title", "day").annotate(number=Count("id"))
    found = walked(grouped.order_by("-number"), limit=3)
    key = lambda row: (row["title"], str(row["day"]))  # noqa: E731
    assert sorted(found, key=key) == sorted(grouped.order_by(), key=key)
