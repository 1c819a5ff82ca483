"""Starlette, FastAPI and Flask, by real servers and clients."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import trio
from conftest import free_port
from lists import HEADERS, Gate, Numbers, read_sync

from chunkflow import Cut, Flow, Source
from chunkflow.asgi import ListResponse as AsgiList
from chunkflow.starlette import ListResponse

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
TITLES = {number: f"trick {number} ⚓ " + "x" * (number % 300) for number in range(1, 2_001)}
ORACLE = {"results": [{"id": number, "title": title} for number, title in TITLES.items()]}


@contextmanager
def running(*command: str, **environment: str) -> Iterator[str]:
    """A server with an application of this folder or of the examples; `{port}` is its port."""
    port = free_port()
    path = os.pathsep.join([str(HERE), str(EXAMPLES)])
    server = subprocess.Popen(
        [sys.executable, "-m", *[part.format(port=port) for part in command]],
        env={**os.environ, **environment, "PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        while True:
            assert server.poll() is None, "the server did not start"
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        server.send_signal(signal.SIGTERM)
        # uvicorn ends by the signal once it has stopped.
        assert server.wait(60) in {0, -signal.SIGTERM}
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


UVICORN = ("uvicorn", "--port", "{port}", "--log-level", "warning")
DAPHNE = ("daphne", "--port", "{port}", "--verbosity", "0")
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("database") / "tricks.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        database.executemany("INSERT INTO author VALUES (?, ?)", [(1, "Ada"), (2, "Bob")])
        database.execute(
            "CREATE TABLE trick (id INTEGER PRIMARY KEY, title TEXT NOT NULL, "
            "author_id INTEGER NOT NULL REFERENCES author)"
        )
        rows = [(number, title, 1 + number % 2) for number, title in TITLES.items()]
        database.executemany("INSERT INTO trick VALUES (?, ?, ?)", rows)
    database.close()
    return str(path)


def test_starlette_over_asyncpg_streams_a_list_of_each_organisation(postgres: str) -> None:
    async def fill() -> None:
        database = await asyncpg.connect(postgres)
        await database.execute(
            "CREATE TABLE trick (id int PRIMARY KEY, organisation_id int, title text COLLATE "
            '"C"); CREATE INDEX ON trick (organisation_id, title, id)'
        )
        rows = [(number, number % 2, title) for number, title in TITLES.items()]
        await database.copy_records_to_table("trick", records=rows)
        await database.close()

    asyncio.run(fill())
    with running(*UVICORN, "starlette_asyncpg:app", DATABASE_URL=postgres) as url:
        for _ in range(2):
            for organisation in (0, 1):
                own = [
                    {"id": number, "title": title}
                    for number, title in TITLES.items()
                    if number % 2 == organisation
                ]
                own.sort(key=lambda row: (str(row["title"]).encode(), row["id"]))
                reply = httpx.get(f"{url}/organisations/{organisation}/tricks")
                assert reply.json() == {"results": own}
        csv = httpx.get(f"{url}/organisations/1/tricks?limit=2", headers={"accept": "text/csv"})
        assert csv.text.startswith("id,title\r\n")
        assert 'rel="next"' in csv.headers["link"]


def test_fastapi_over_sqlalchemy_streams_a_list_and_tells_of_changes(database: str) -> None:
    def expected(first: str) -> list[dict[str, Any]]:
        authors = [first, "Bob"]
        return [
            {"id": number, "title": title, "author": authors[number % 2]}
            for number, title in TITLES.items()
        ]

    with running(*UVICORN, "fastapi_sqlalchemy:app", DATABASE=database) as url:
        for _ in range(2):
            for path in ("/tricks", "/async/tricks"):
                assert httpx.get(url + path).json()["results"] == expected("Ada")
        changed = httpx.put(url + "/authors/1", params={"name": "Eve"})
        assert changed.json()["token"]
        assert httpx.get(url + "/tricks").json()["results"] == expected("Eve")
        httpx.put(url + "/authors/1", params={"name": "Ada"})
        assert httpx.get(url + "/tricks").headers["cache-status"]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_flask_over_sqlite3_streams_a_list_behind_gunicorn(
    database: str, workers: str, kind: str
) -> None:
    options = ("--workers", workers, "--worker-class", kind, "--preload")
    with running(*GUNICORN, *options, "flask_sqlite3:app", DATABASE=database) as url:
        for _ in range(6):
            assert httpx.get(f"{url}/tricks").json() == ORACLE
        warm = httpx.get(f"{url}/tricks", headers={"accept-encoding": "gzip"})
        assert warm.json() == ORACLE
        assert httpx.head(f"{url}/tricks").status_code == 200
        assert httpx.get(f"{url}/tricks?nothing=1").status_code == 400
        assert httpx.get(f"{url}/tricks?limit=2").json()["results"] == ORACLE["results"][:2]


@pytest.mark.parametrize("server", [UVICORN, DAPHNE, GUNICORN])
def test_a_list_that_breaks_off_never_looks_whole_to_a_client(server: tuple[str, ...]) -> None:
    app = "broken:wsgi" if server is GUNICORN else "broken:asgi"
    with running(*server, app) as url, httpx.stream("GET", url) as reply:
        assert reply.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            reply.read()


class Client:
    """What a server would hand over, driven by hand."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.leaves = asyncio.Event()
        self.scope = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }

    async def receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


async def test_a_warm_list_is_sent_without_another_task(flow: Flow) -> None:
    numbers = Numbers(1_000)
    for _ in range(2):
        before, client = asyncio.all_tasks(), Client()
        tasks: list[int] = []

        async def send(message: Any, client: Client = client, tasks: list[int] = tasks) -> None:
            tasks.append(len(asyncio.all_tasks()))
            await client.send(message)

        await AsgiList(flow, numbers.source())(client.scope, client.receive, send)
        assert json.loads(client.body()) == numbers.all()
    assert set(tasks) == {len(before)}


async def test_a_client_that_leaves_ends_the_work_that_was_done_for_it(flow: Flow) -> None:
    cancelled = asyncio.Event()
    client = Client()

    async def rows(fetch: Any) -> AsyncIterator[Any]:
        try:
            client.leaves.set()
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        yield

    source = Source("left", b"", rows, order=["id"])
    await AsgiList(flow, source)(client.scope, client.receive, client.send)
    await asyncio.wait_for(cancelled.wait(), 30)
    assert client.sent == []


def test_under_trio_a_list_is_refused_with_the_remedy_and_a_thread_gives_it(flow: Flow) -> None:
    numbers = Numbers(100)
    client = Client()
    for response in (AsgiList(flow, numbers.source()), ListResponse(flow, numbers.source())):
        with pytest.raises(RuntimeError, match="in a thread, by `trio"):
            trio.run(response, client.scope, client.receive, client.send)
    with pytest.raises(RuntimeError, match="in a thread, by `trio"):
        trio.run(flow.open, numbers.source(), "/", HEADERS)
    assert client.sent == []
    assert numbers.fetches == []

    for _ in range(2):
        whole = trio.run(trio.to_thread.run_sync, read_sync, flow, numbers.source())
        assert json.loads(whole) == numbers.all()
    # What is at hand is no list that works until its chunks are gone.
    with pytest.raises(RuntimeError, match="in a thread, by `trio"):
        trio.run(AsgiList(flow, numbers.source()), client.scope, client.receive, client.send)


async def test_what_a_view_sets_on_the_response_is_sent_with_the_list(flow: Flow) -> None:
    ran = []

    async def behind() -> None:
        ran.append(True)

    response = ListResponse(flow, Numbers(10).source())
    response.headers["x-of-the-view"] = "yes"
    response.set_cookie("seen", "1")
    response.background = behind  # type: ignore[assignment]
    client = Client()
    await response(client.scope, client.receive, client.send)
    sent = client.sent[0]["headers"]
    assert (b"x-of-the-view", b"yes") in sent
    assert any(name == b"set-cookie" for name, _ in sent)
    assert sum(name == b"content-type" for name, _ in sent) == 1
    assert ran


async def test_a_cut_reaches_the_server(flow: Flow) -> None:
    from broken import rows

    client = Client()
    with pytest.raises(Cut):
        await AsgiList(flow, Source("late", b"", rows, order=["id"]))(
            client.scope, client.receive, client.send
        )
    assert client.sent[-1]["more_body"]


async def test_a_thousand_slow_clients_hold_no_thread_beside_a_fast_one(
    flows: Callable[..., Flow],
) -> None:
    import threading

    flow = flows()
    numbers = Numbers(10_007, 500)
    source = numbers.source()
    go_on = asyncio.Event()
    slow = [Client() for _ in range(1_000)]

    async def serve(client: Client) -> None:
        async def send(message: Any) -> None:
            await client.send(message)
            if message["type"] == "http.response.body" and not go_on.is_set():
                await go_on.wait()
                client.leaves.set()

        await AsgiList(flow, source)(client.scope, client.receive, send)

    tasks = [asyncio.create_task(serve(client)) for client in slow]
    while not all(len(client.sent) >= 2 for client in slow):
        await asyncio.sleep(0.01)
    threads = [thread for thread in threading.enumerate() if "chunkflow" in thread.name]
    assert len(threads) <= 2 + 2
    fast = Client()
    await AsgiList(flow, source)(fast.scope, fast.receive, fast.send)
    assert json.loads(fast.body()) == numbers.all()
    go_on.set()
    await asyncio.gather(*tasks)


async def test_eight_clients_of_a_cold_list_are_answered_from_one_load(flow: Flow) -> None:
    numbers = Numbers(100)
    gate = Gate()
    clients = [Client() for _ in range(8)]
    source = numbers.source(rows=gate.before(numbers.rows))
    tasks = [
        asyncio.create_task(AsgiList(flow, source)(client.scope, client.receive, client.send))
        for client in clients
    ]
    await asyncio.to_thread(gate.reached.wait)
    gate.opened.set()
    await asyncio.gather(*tasks)
    assert {client.body() for client in clients} == {clients[0].body()}
    assert len(numbers.fetches) == 1 + 1
