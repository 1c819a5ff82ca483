"""Who has written gets a cookie, and what is in it goes along with the next request."""

from __future__ import annotations

import pytest
from asgiref.sync import iscoroutinefunction
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from told import Told
from watched.models import Category

from chunkflow.django import telling
from chunkflow.django.middleware import COOKIE, SECONDS, ChunkflowMiddleware

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = "0123456789abcdef.17.fedcba9876543210"


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    one = Told()
    monkeypatch.setattr(telling, "send", one.send)
    return one


def write(request: HttpRequest) -> HttpResponse:
    Category.objects.create(slug=request.GET.get("slug", "a"))
    return HttpResponse("written")


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(getattr(request, "chunkflow_at_least", "nothing"))


def test_a_request_that_changes_a_row_gets_the_token_for_ten_seconds() -> None:
    response = ChunkflowMiddleware(write)(RequestFactory().post("/"))
    cookie = response.cookies[COOKIE]
    assert cookie.value == "0123456789abcdef.1.0123456789abcdef"
    assert (cookie["max-age"], cookie["httponly"], cookie["samesite"]) == (SECONDS, True, "Lax")
    assert not cookie["secure"]

    response = ChunkflowMiddleware(write)(RequestFactory().post("/?slug=b", secure=True))
    assert response.cookies[COOKIE]["secure"]


def test_the_token_is_that_of_the_last_change() -> None:
    def twice(request: HttpRequest) -> HttpResponse:
        Category.objects.create(slug="a")
        with transaction.atomic():
            Category.objects.create(slug="b")
            Category.objects.create(slug="c")
        return HttpResponse()

    response = ChunkflowMiddleware(twice)(RequestFactory().post("/"))
    assert response.cookies[COOKIE].value == "0123456789abcdef.2.0123456789abcdef"


def test_a_request_that_changes_nothing_gets_no_cookie() -> None:
    assert COOKIE not in ChunkflowMiddleware(read)(RequestFactory().get("/")).cookies


def test_what_was_changed_outside_of_a_request_is_of_no_request() -> None:
    Category.objects.create(slug="a")
    assert COOKIE not in ChunkflowMiddleware(read)(RequestFactory().get("/")).cookies
    ChunkflowMiddleware(write)(RequestFactory().post("/?slug=b"))
    assert telling.of_request.get() is None


def test_the_token_of_the_cookie_goes_along_with_the_next_request() -> None:
    factory = RequestFactory()
    factory.cookies[COOKIE] = TOKEN
    response = ChunkflowMiddleware(read)(factory.get("/"))
    assert response.content.decode() == TOKEN


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        TOKEN + "&limit=1",
        TOKEN.upper(),
        TOKEN.replace("17", "9" * 20),
        TOKEN.replace("17", "-7"),
        TOKEN + "\n",
        "٣" * 16 + ".1." + "0" * 16,
    ],
)
def test_a_cookie_that_is_no_token_is_not_looked_at(value: str) -> None:
    factory = RequestFactory()
    request = factory.get("/")
    request.COOKIES[COOKIE] = value
    assert ChunkflowMiddleware(read)(request).content == b"nothing"


@pytest.mark.asyncio
async def test_it_is_async_where_the_view_is() -> None:
    async def write(request: HttpRequest) -> HttpResponse:
        await Category.objects.acreate(slug="a")
        return HttpResponse()

    middleware = ChunkflowMiddleware(write)
    assert iscoroutinefunction(middleware)
    response = await middleware(AsyncRequestFactory().post("/"))
    assert response.cookies[COOKIE].value == "0123456789abcdef.1.0123456789abcdef"
