"""Databases that routers choose."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db.models import Prefetch
from django.test import AsyncRequestFactory, override_settings
from made import tricks
from test_stream import GET, abody, rows, usual
from tricks.models import Author, Category, Trick

from chunkflow.django import conf, stream, stream_sync
from chunkflow.django.plan import Plan

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

ALIASES = ("default", "other")
LOCAL = threading.local()


class ByThread:
    """A router that asks what only the request's thread knows."""

    def __init__(self, otherwise: str | None, only: Any = None) -> None:
        self.otherwise = otherwise
        self.only = only

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        if self.only is not None and model is not self.only:
            return None
        return getattr(LOCAL, "alias", None) or self.otherwise

    def allow_relation(self, *_: Any, **__: Any) -> bool:
        return True


class InTurn:
    """A router that takes one replica after the other."""

    def __init__(self) -> None:
        self.turns = itertools.cycle(ALIASES)

    def db_for_read(self, model: Any, **_: Any) -> str:
        return next(self.turns)


@pytest.fixture(autouse=True)
def _new_flow() -> Iterator[None]:
    conf.forget()
    LOCAL.alias = None
    for alias in ALIASES:
        tricks(3, alias)
        Trick.objects.using(alias).update(body=alias)
        for model, name in ((Author, "name"), (Category, "slug")):
            for row in model.objects.using(alias).all():
                setattr(row, name, f"{getattr(row, name)}-of-{alias}-{row.pk}")
                row.save(using=alias)
    yield
    LOCAL.alias = None
    conf.forget()


def joined(trick: Trick) -> dict[str, Any]:
    return {"id": trick.pk, "categories": [one.slug for one in trick.categories.order_by("id")]}


def prefetched(trick: Trick) -> dict[str, Any]:
    return {"id": trick.pk, "categories": [one.slug for one in trick.categories.all()]}


def pointed(trick: Trick) -> dict[str, Any]:
    return {"id": trick.pk, "author": trick.author.name if trick.author else None}


def asked(trick: Trick) -> dict[str, Any]:
    return {"id": trick.pk, "first": str(Category.objects.order_by("id").values_list("slug")[0])}


def through(trick: Trick) -> dict[str, Any]:
    tricks = trick.author.tricks.all() if trick.author else []
    return {"id": trick.pk, "titles": sorted(f"{one.body} {one.slug}" for one in tricks)}


LISTS: dict[str, Any] = {
    "a prefetch by its name": (prefetched, lambda rows: rows.prefetch_related("categories")),
    "a prefetch with a queryset": (
        prefetched,
        lambda rows: rows.prefetch_related(
            Prefetch("categories", queryset=Category.objects.order_by("-id"))
        ),
    ),
    "a prefetch over two relations": (
        through,
        lambda rows: rows.prefetch_related("author__tricks"),
    ),
    "rows that are joined and not prefetched": (joined, lambda rows: rows),
    "a row that is pointed to and not selected": (pointed, lambda rows: rows),
    "rows that no relation leads to": (asked, lambda rows: rows),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("otherwise", [None, "default"])
def test_a_router_that_asks_the_request_s_thread_leads_to_the_same_rows_as_there(
    name: str, otherwise: str | None
) -> None:
    write, more = LISTS[name]
    with override_settings(DATABASE_ROUTERS=[ByThread(otherwise)]):
        for alias in ("default", "other", "default", "other"):
            LOCAL.alias = alias
            queryset = more(Trick.objects.order_by("id"))
            found = rows(stream_sync(GET("/"), queryset, write))
            assert found == usual(queryset, write)
            assert len(found) == 3


@pytest.mark.parametrize("name", LISTS)
async def test_so_it_does_under_asgi(name: str) -> None:
    write, more = LISTS[name]
    expected = {}
    with override_settings(DATABASE_ROUTERS=[ByThread("default")]):
        for alias in ("default", "other", "default", "other"):
            LOCAL.alias = alias
            queryset = more(Trick.objects.order_by("id"))
            response = await stream(AsyncRequestFactory().get("/"), queryset, write)
            expected.setdefault(alias, await abody(response))
            assert (
                await abody(await stream(AsyncRequestFactory().get("/"), queryset, write))
                == (expected[alias])
            )
    assert len(set(expected.values())) == 2


@pytest.mark.parametrize("selects", [True, False])
def test_two_requests_that_a_router_leads_to_other_related_rows_share_nothing(
    selects: bool,
) -> None:
    for author in Author.objects.using("default"):
        Author(pk=author.pk, name="of the other").save(using="other")
    queryset = Trick.objects.using("default").order_by("id")
    queryset = queryset.prefetch_related("author") if selects else queryset
    seen = set()
    with override_settings(DATABASE_ROUTERS=[ByThread(None, only=Author)]):
        for alias in ("default", "other", "default", "other"):
            LOCAL.alias = alias
            found = rows(stream_sync(GET("/"), queryset, pointed))
            assert found == usual(queryset.all(), pointed)
            seen.add(str(found))
    assert len(seen) == 2


def test_replicas_that_a_router_takes_in_turn_are_one_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = []
    read = Plan.rows

    def noted(plan: Plan, fetch: Any) -> Any:
        reads.append(plan.alias)
        return read(plan, fetch)

    monkeypatch.setattr(Plan, "rows", noted)
    monkeypatch.setattr("chunkflow.django.routes._alike", {})
    queryset = Trick.objects.using("other").order_by("id").prefetch_related("categories")
    expected = usual(queryset.all(), prefetched)
    with override_settings(DATABASE_ROUTERS=[InTurn()]):
        for write in (prefetched, pointed):
            expected = usual(queryset.select_related("author"), write)
            for _ in range(4):
                assert rows(stream_sync(GET("/"), queryset, write)) == expected
    assert reads == ["other"] * 2


def elsewhere(trick: Trick) -> dict[str, Any]:
    return {"id": trick.pk, "count": Category.objects.using("other").count()}


def test_a_database_to_which_nothing_led_in_the_request_is_refused_with_the_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queryset = Trick.objects.using("default").order_by("id")
    with override_settings(DATABASE_ROUTERS=[ByThread("default")]):
        assert stream_sync(GET("/"), queryset, elsewhere).status_code == 500
    assert "name what is read there in select_related()" in caplog.text
    # Without routers a database that is named is one and the same for all requests.
    assert len(rows(stream_sync(GET("/"), queryset, elsewhere))) == 3
