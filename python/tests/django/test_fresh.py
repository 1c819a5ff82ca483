"""A list shows what was committed before it began."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Count
from django.db.models.signals import post_init
from django.test import AsyncRequestFactory, Client, RequestFactory
from told import rolled_back
from watched.fresh import tricks
from watched.models import (
    Author,
    Category,
    Comment,
    Mark,
    Organisation,
    Place,
    Restaurant,
    Sponsorship,
    Trick,
    Vote,
)

from chunkflow.django import changed, stream, stream_sync
from chunkflow.django.conf import forget

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.urls("watched.fresh"),
]

ROWS = 400


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """Without chunks of another test, whose rows have the same keys."""
    forget()
    yield
    forget()


@pytest.fixture
def organisations() -> list[Organisation]:
    made = [Organisation.objects.create(name=name) for name in ("acme", "other")]
    author = Author.objects.create(name="ada")
    Trick.plain.bulk_create(
        Trick(
            slug=f"{one.name}-{at:04}",
            title=f"Trick {at}",
            body="x" * 1000,
            organisation=one,
            author=author if at % 2 else None,
        )
        for one in made
        for at in range(ROWS)
    )
    return made


def listed(organisation: Organisation) -> list[dict[str, Any]]:
    response = tricks(RequestFactory().get("/"), organisation.pk)
    assert response.status_code == 200
    body = response.getvalue() if hasattr(response, "getvalue") else response.content
    rows: list[dict[str, Any]] = json.loads(body)["results"]
    return rows


def expected(organisation: Organisation) -> list[dict[str, Any]]:
    rows = Trick.objects.filter(organisation=organisation).order_by("slug")
    return [
        {
            "id": row.pk,
            "title": row.title,
            "body": row.body,
            "author": row.author.name if row.author else None,
            "categories": [category.slug for category in row.categories.all()],
        }
        for row in rows.select_related("author").prefetch_related("categories")
    ]


def is_right(organisation: Organisation) -> None:
    assert listed(organisation) == expected(organisation)


def read(look: Callable[[], object]) -> int:
    """How many tricks were made of rows meanwhile."""
    count = []

    def note(**_: Any) -> None:
        count.append(1)

    post_init.connect(note, sender=Trick)
    try:
        look()
    finally:
        post_init.disconnect(note, sender=Trick)
    return len(count)


def first(organisation: Organisation) -> Trick:
    trick = Trick.objects.filter(organisation=organisation).order_by("slug").first()
    assert trick is not None
    return trick


def test_after_each_change_the_list_is_that_of_the_database(
    organisations: list[Organisation],
) -> None:
    acme, other = organisations
    is_right(acme)

    def rename(trick: Trick) -> None:
        trick.title = "Renamed"
        trick.save()

    def move(trick: Trick) -> None:
        trick.slug = "zzz"
        trick.save()

    def give(trick: Trick) -> None:
        trick.organisation = other
        trick.save()

    category = Category.objects.create(slug="css")
    steps: list[Callable[[], object]] = [
        lambda: rename(first(acme)),
        lambda: move(first(acme)),
        lambda: give(first(acme)),
        lambda: first(acme).delete(),
        lambda: Trick.objects.create(slug="acme-0200a", title="New", organisation=acme),
        lambda: first(acme).categories.add(category),
        lambda: first(acme).categories.set([]),
        lambda: category.tricks.add(first(acme), first(other)),
        category.tricks.clear,
        lambda: first(acme).categories.add(category),
        category.delete,
        lambda: Trick.objects.filter(slug__startswith="acme-03").update(title="Many"),
        lambda: Trick.objects.filter(slug__startswith="acme-03").delete(),
        lambda: Trick.objects.bulk_create(
            [Trick(slug=f"bulk-{at}", title="", organisation=acme) for at in range(5)]
        ),
        lambda: other.tricks.add(first(acme)),
        lambda: Author.objects.get().delete(),
    ]
    for step in steps:
        step()
        is_right(acme)
        is_right(other)


def test_a_changed_row_costs_its_chunk_and_no_row_of_another_organisation() -> None:
    acme, other = (Organisation.objects.create(name=name) for name in ("acme", "other"))
    Trick.plain.bulk_create(
        Trick(slug=f"{one.pk}-{at:04}", title="", body="x" * 1000, organisation=one)
        for one in (acme, other)
        for at in range(2_000)
    )
    assert read(lambda: listed(acme)) == 2_000
    assert read(lambda: listed(other)) == 2_000
    assert read(lambda: listed(acme)) == 0

    trick = first(acme)
    trick.title = "Renamed"
    trick.save()
    # A chunk has 60 rows on average. It is read in a run of 100 rows, and a second one of 500 if
    # it does not end among these.
    assert 0 < read(lambda: listed(acme)) <= 600
    assert read(lambda: listed(other)) == 0


def test_after_a_rollback_the_list_is_the_old_one_and_costs_nothing(
    organisations: list[Organisation],
) -> None:
    acme = organisations[0]
    before = listed(acme)
    with rolled_back():
        trick = first(acme)
        trick.title = "Renamed"
        trick.save()
        trick.categories.add(Category.objects.create(slug="css"))
        Trick.objects.filter(organisation=acme).update(title="All")
    after: list[dict[str, Any]] = []
    assert read(lambda: after.extend(listed(acme))) == 0
    assert after == before


def test_of_nested_transactions_what_was_committed_is_seen_and_what_was_rolled_back_is_not(
    organisations: list[Organisation],
) -> None:
    acme = organisations[0]
    is_right(acme)
    with transaction.atomic():
        with rolled_back():
            Trick.objects.filter(organisation=acme).update(title="All")
        with transaction.atomic():
            trick = first(acme)
            trick.title = "Renamed"
            trick.save()
    assert listed(acme)[0]["title"] == "Renamed"
    is_right(acme)


def test_within_a_transaction_the_list_is_that_of_the_transaction_and_nobody_else_gets_it(
    organisations: list[Organisation],
) -> None:
    acme = organisations[0]
    before = listed(acme)
    with rolled_back():
        Trick.objects.filter(organisation=acme).update(title="All")
        assert {row["title"] for row in listed(acme)} == {"All"}
    assert listed(acme) == before


def test_a_hook_that_runs_after_the_commit_sees_the_new_list(
    organisations: list[Organisation],
) -> None:
    acme = organisations[0]
    is_right(acme)
    seen = []
    with transaction.atomic():
        transaction.on_commit(lambda: seen.append(listed(acme)[0]["title"]))
        trick = first(acme)
        trick.title = "Renamed"
        trick.save()
    assert seen == ["Renamed"]


def test_what_no_signal_says_is_seen_once_it_is_told(organisations: list[Organisation]) -> None:
    acme = organisations[0]
    is_right(acme)
    trick = first(acme)
    Trick.plain.filter(pk=trick.pk).update(title="Plain")
    assert listed(acme)[0]["title"] == "Trick 0"
    changed(Trick, [trick.pk])
    is_right(acme)

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM watched_trick WHERE id = %s", [trick.pk])
    changed(Trick, [trick.pk])
    is_right(acme)


def counted(row: Trick) -> dict[str, Any]:
    return {
        "slug": row.slug,
        "votes": row.votes,  # type: ignore[attr-defined]
        "categories": row.found,  # type: ignore[attr-defined]
    }


def related(row: Trick) -> dict[str, Any]:
    return {
        "slug": row.slug,
        "comments": [comment.text for comment in row.comment_set.all()],
        "sponsors": [author.name for author in row.sponsors.all()],
        "alike": [other.slug for other in row.alike.all()],
        "marks": [mark.name for mark in row.marks.all()],
    }


def placed(row: Restaurant) -> dict[str, Any]:
    return {"name": row.name, "stars": row.stars}


def body(rows: Any, serialize: Callable[..., Any]) -> list[dict[str, Any]]:
    response: Any = stream_sync(RequestFactory().get("/"), rows, serialize)
    found: list[dict[str, Any]] = json.loads(response.getvalue())["results"]
    assert found == [serialize(row) for row in rows.all()]
    return found


def test_what_is_counted_is_counted_again_after_each_change() -> None:
    acme = Organisation.objects.create(name="acme")
    tricks = [Trick.objects.create(slug=f"t{at}", title="", organisation=acme) for at in range(3)]
    categories = [Category.objects.create(slug=f"c{at}") for at in range(3)]

    def look() -> list[dict[str, Any]]:
        rows = Trick.objects.annotate(
            votes=Count("vote", distinct=True), found=Count("categories", distinct=True)
        )
        return body(rows.order_by("slug"), counted)

    look()
    # It is cached: these are the rows that the test itself reads.
    assert read(look) == 3
    vote = Vote.objects.create(trick=tricks[0])
    assert look()[0]["votes"] == 1
    vote.trick = tricks[1]
    vote.save()
    assert [row["votes"] for row in look()] == [0, 1, 0]
    vote.delete()
    assert [row["votes"] for row in look()] == [0, 0, 0]
    tricks[0].categories.set(categories)
    assert look()[0]["categories"] == 3
    categories[0].delete()
    assert look()[0]["categories"] == 2
    Category.objects.all().delete()
    assert look()[0]["categories"] == 0


def test_related_rows_of_each_kind_are_those_of_the_database() -> None:
    acme = Organisation.objects.create(name="acme")
    one, two = (Trick.objects.create(slug=s, title="", organisation=acme) for s in ("a", "b"))
    ada = Author.objects.create(name="ada")

    def look() -> list[dict[str, Any]]:
        rows = Trick.objects.prefetch_related("comment_set", "sponsors", "alike", "marks")
        return body(rows.order_by("slug"), related)

    look()
    comment = Comment.objects.create(trick=one, text="hm")
    assert look()[0]["comments"] == ["hm"]
    comment.trick = two
    comment.save()
    assert [row["comments"] for row in look()] == [[], ["hm"]]
    comment.delete()
    look()

    mark = Mark.objects.create(target=one, name="star")
    assert [row["marks"] for row in look()] == [["star"], []]
    mark.target = two
    mark.save()
    assert [row["marks"] for row in look()] == [[], ["star"]]
    mark.delete()
    look()

    sponsorship = Sponsorship.objects.create(trick=one, author=ada)
    assert look()[0]["sponsors"] == ["ada"]
    sponsorship.trick = two
    sponsorship.save()
    assert [row["sponsors"] for row in look()] == [[], ["ada"]]
    sponsorship.delete()
    assert [row["sponsors"] for row in look()] == [[], []]

    one.alike.add(two)
    assert [row["alike"] for row in look()] == [["b"], ["a"]]
    two.alike.clear()
    assert [row["alike"] for row in look()] == [[], []]


def test_a_row_in_two_tables_is_new_whichever_of_them_has_changed() -> None:
    restaurant = Restaurant.objects.create(name="r", stars=1)
    rows = Restaurant.objects.order_by("place_ptr")
    body(rows, placed)
    place = Place.objects.get()
    place.name = "renamed"
    place.save()
    assert body(rows, placed) == [{"name": "renamed", "stars": 1}]
    restaurant.refresh_from_db()
    restaurant.stars = 2
    restaurant.save()
    assert body(rows, placed) == [{"name": "renamed", "stars": 2}]


def test_a_change_of_one_database_costs_nothing_of_another() -> None:
    def look() -> list[dict[str, Any]]:
        return body(Trick.objects.using("other").select_related("author"), title_of)

    for alias in ("default", "other"):
        one = Organisation.objects.using(alias).create(name="acme")
        Trick.objects.using(alias).create(slug=alias, title="", organisation=one)
    look()
    trick = Trick.objects.get()
    trick.title = "x"
    trick.save()
    # The second look of each is what the test itself reads.
    assert read(look) == 1
    trick = Trick.objects.using("other").get()
    trick.title = "x"
    trick.save()
    assert read(look) == 2


def title_of(row: Trick) -> dict[str, Any]:
    return {"title": row.title}


async def test_a_list_of_an_async_view_is_new_after_a_change_by_async_code() -> None:
    acme = await Organisation.objects.acreate(name="acme")
    trick = await Trick.objects.acreate(slug="one", title="One", organisation=acme)

    async def look() -> list[dict[str, Any]]:
        rows = Trick.objects.filter(organisation=acme.pk)
        response: Any = await stream(AsyncRequestFactory().get("/"), rows, title_of)
        found: list[dict[str, Any]] = json.loads(response.content)["results"]
        return found

    assert await look() == [{"title": "One"}]
    trick.title = "Two"
    await trick.asave()
    assert await look() == [{"title": "Two"}]
    await Trick.objects.aupdate(title="Three")
    assert await look() == [{"title": "Three"}]
    await trick.adelete()
    assert await look() == []


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def redis() -> Iterator[str]:
    folder, port = Path(tempfile.mkdtemp(prefix="chunkflow-redis-")), free_port()
    script = Path(__file__).parents[3] / "tests/servers/redis"
    server = subprocess.Popen(
        [script, folder, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    yield f"redis://127.0.0.1:{port}"
    server.stdin.close()
    server.wait(30)
    server.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


WORKER = """
import os, sys
from wsgiref.simple_server import WSGIRequestHandler, make_server
sys.path.insert(0, {here!r})
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import settings
settings.FOLDER.rmdir()  # The databases of the tests are in that of the tests.
settings.DATABASES["default"]["NAME"] = {database!r}
settings.CHUNKFLOW = {{"STORE": {store!r}}}
settings.ROOT_URLCONF = "watched.fresh"
settings.ALLOWED_HOSTS = ["*"]
settings.MIDDLEWARE = ["chunkflow.django.ChunkflowMiddleware"]
from django.core.wsgi import get_wsgi_application
WSGIRequestHandler.log_message = lambda *_: None
server = make_server("127.0.0.1", 0, get_wsgi_application())
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def two_workers(redis: str) -> Iterator[list[int]]:
    code = WORKER.format(
        here=str(Path(__file__).parent),
        database=str(connection.settings_dict["NAME"]),
        store=redis,
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    ports = []
    for worker in workers:
        assert worker.stdout is not None
        ports.append(int(worker.stdout.readline()))
    yield ports
    for worker in workers:
        worker.terminate()
        worker.wait(10)
        assert worker.stdout is not None
        worker.stdout.close()


def ask(port: int, method: str, target: str, cookie: str = "") -> tuple[bytes, str]:
    one = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    one.request(method, target, headers={"Cookie": cookie} if cookie else {})
    response = one.getresponse()
    body = response.read()
    assert response.status in (200, 204), body
    given = (response.getheader("Set-Cookie") or "").partition(";")[0]
    one.close()
    return body, given


def test_who_has_written_sees_it_in_every_worker_and_all_others_soon(
    organisations: list[Organisation], two_workers: list[int]
) -> None:
    key = first(organisations[0]).pk
    target = f"/{organisations[0].pk}/tricks/"
    for port in two_workers:
        ask(port, "GET", target)

    for number in range(10):
        here, there = two_workers[number % 2], two_workers[1 - number % 2]
        _, cookie = ask(here, "POST", f"/rename/{key}/?title=Number-{number}")
        assert cookie.startswith("chunkflow=")
        body, _ = ask(there, "GET", target, cookie)
        assert f"Number-{number}".encode() in body

    ask(two_workers[0], "POST", f"/rename/{key}/?title=Last")
    while b'"Last"' not in ask(two_workers[1], "GET", target)[0]:
        pass


def test_a_token_that_no_worker_knows_costs_no_error(
    organisations: list[Organisation], two_workers: list[int]
) -> None:
    target = f"/{organisations[0].pk}/tricks/"
    key = first(organisations[0]).pk
    _, cookie = ask(two_workers[0], "POST", f"/rename/{key}/?title=Renamed")
    epoch, _, mark = cookie.removeprefix("chunkflow=").split(".")
    for lost in (f"{epoch}.99.{mark}", "0123456789abcdef.1.0123456789abcdef"):
        body, _ = ask(two_workers[0], "GET", target, f"chunkflow={lost}")
        assert b"Renamed" in body


def test_the_middleware_s_token_is_not_sent_where_each_worker_has_a_store_of_its_own(
    organisations: list[Organisation], settings: Any
) -> None:
    settings.MIDDLEWARE = ["chunkflow.django.ChunkflowMiddleware"]
    client = Client()
    client.post(f"/rename/{first(organisations[0]).pk}/?title=x")
    assert "chunkflow" not in client.cookies
