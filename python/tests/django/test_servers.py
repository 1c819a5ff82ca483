"""Lists over a real ASGI server, as real clients get them."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import uvicorn
from asgiref.sync import SyncToAsync, sync_to_async
from django.core.asgi import get_asgi_application
from django.db import connection, connections
from django.http import HttpRequest, HttpResponseBase
from django.test import AsyncRequestFactory, override_settings
from django.urls import path
from made import tricks
from serializers import broken, serialize
from test_stream import abody, of, usual
from tricks.models import Organisation, Trick

from chunkflow.django import conf, stream, stream_sync
from chunkflow.django.plan import Plan

pytestmark = pytest.mark.django_db(transaction=True)


async def tricks_of(request: HttpRequest, pk: int) -> HttpResponseBase:
    return await stream(request, of(Organisation(pk=pk)), serialize)


def tricks_sync(request: HttpRequest, pk: int) -> HttpResponseBase:
    return stream_sync(request, of(Organisation(pk=pk)), serialize)


async def broken_of(request: HttpRequest, pk: int) -> HttpResponseBase:
    return await stream(request, Trick.objects.filter(organisation=pk).order_by("id"), broken)


urlpatterns = [
    path("async/<int:pk>", tricks_of),
    path("sync/<int:pk>", tricks_sync),
    path("broken/<int:pk>", broken_of),
]


@pytest.fixture(autouse=True)
def _new_flow() -> Iterator[None]:
    conf.forget()
    yield
    conf.forget()


@pytest.fixture
def server() -> Iterator[str]:
    """uvicorn with the views above, in a thread."""
    with override_settings(ROOT_URLCONF="test_servers"):
        config = uvicorn.Config(
            get_asgi_application(),
            host="127.0.0.1",
            port=0,
            lifespan="off",
            log_level="critical",
            ws="none",
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()
        # `one.example` is a host that the settings allow.
        yield f"http://{host}:{port}"
        server.should_exit = True
        thread.join(30)


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers={"host": "one.example", **headers}, timeout=60)


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_lists_are_whole_for_plain_and_gzip_clients_cold_and_warm(server: str, kind: str) -> None:
    for size in (0, 50, 350):
        organisation = tricks(size, seed=size)
        expected = usual(of(organisation), serialize)
        for _ in range(3):
            for coding in ("identity", "gzip"):
                answer = get(f"{server}/{kind}/{organisation.pk}", **{"accept-encoding": coding})
                assert answer.json()["results"] == expected
                assert answer.headers.get("content-encoding", "identity") == coding


def test_each_chunk_of_a_cold_list_is_read_once_for_all_clients(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    organisation = tricks(2_000)
    reads: list[Any] = []
    rows = Plan.rows

    def noted(plan: Plan, fetch: Any) -> Any:
        found = list(rows(plan, fetch))
        reads.extend(row[0] for row in found)
        return found

    monkeypatch.setattr(Plan, "rows", noted)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: get(f"{server}/async/{organisation.pk}"), range(8)))
    assert len({answer.content for answer in answers}) == 1
    assert len(answers[0].json()["results"]) == 2_000
    assert len(reads) == len(set(reads)) == 2_000


def test_a_list_that_breaks_off_never_looks_whole(server: str) -> None:
    organisation = tricks(700)
    Trick.objects.filter(slug="trick-7-120").update(slug="whole")
    late = Trick.objects.filter(organisation=organisation).order_by("id")[650]
    Trick.objects.filter(pk=late.pk).update(slug="now-120")
    with pytest.raises(httpx.RemoteProtocolError):
        get(f"{server}/broken/{organisation.pk}")


async def test_a_warm_list_is_answered_without_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organisation = await asyncio.to_thread(_made, 60)
    request = AsyncRequestFactory().get("/")
    first = await abody(await stream(request, of(organisation), serialize))

    def hop(*_: Any, **__: Any) -> Any:
        raise AssertionError("another thread was asked")

    monkeypatch.setattr(SyncToAsync, "__call__", hop)
    monkeypatch.setattr(Plan, "rows", hop)
    response = await stream(request, of(organisation), serialize)
    assert await abody(response) == first
    assert len(json.loads(first)["results"]) == 60


def _made(size: int) -> Organisation:
    try:
        return tricks(size)
    finally:
        connections.close_all()


async def test_what_the_thread_of_the_request_told_its_connection_is_seen() -> None:
    """It is the connection of Django's thread for synchronous code, not one of the event loop."""
    organisation = await asyncio.to_thread(_made, 5)
    reads: list[int] = []
    rows = Plan.rows

    def noted(plan: Plan, fetch: Any) -> Any:
        reads.append(threading.get_ident())
        return rows(plan, fetch)

    def tell(what: str | None) -> int:
        connection.ensure_connection()
        connection._chunkflow_told = what  # type: ignore[attr-defined]
        return threading.get_ident()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "rows", noted)
        thread = await sync_to_async(tell)("SET search_path TO one")
        try:
            response = await stream(AsyncRequestFactory().get("/"), of(organisation), serialize)
            assert len(json.loads(await abody(response))["results"]) == 5
            assert reads == [thread]
        finally:
            await sync_to_async(tell)(None)
        reads.clear()
        await abody(await stream(AsyncRequestFactory().get("/"), of(organisation), serialize))
        assert reads
        assert thread not in reads
