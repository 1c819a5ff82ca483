"""Lists of real servers, each in a process of its own, as real clients get them."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import free_port
from django.db import connections
from made import tricks
from serializers import serialize
from test_stream import of, usual
from tricks.models import Trick

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "postgres"])

HERE = Path(__file__).parent
SERVERS = {
    "uvicorn": ("uvicorn", "--port={port}", "--log-level=critical", "served.asgi:application"),
    "daphne": ("daphne", "--port={port}", "--verbosity=0", "served.asgi:application"),
    "gunicorn": ("gunicorn", "--bind=127.0.0.1:{port}", "--threads=4", "served.wsgi"),
}
MORE = {
    "preloaded": (*SERVERS["gunicorn"], "--preload", "--workers=2"),
    "runserver": ("django", "runserver", "127.0.0.1:{port}"),
}


class Server:
    """A server of the site, and what its processes note."""

    def __init__(
        self,
        kind: str,
        notes: Path,
        store: str,
        using: str,
        listener: socket.socket | None,
    ) -> None:
        self.kind = kind
        self.is_async = kind in ("uvicorn", "daphne")
        self.port = free_port() if listener is None else listener.getsockname()[1]
        command = [part.format(port=self.port) for part in {**SERVERS, **MORE}[kind]]
        if listener is not None:
            command.append(f"--fd={listener.fileno()}")
        with notes.with_name("errors").open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                pass_fds=() if listener is None else (listener.fileno(),),
                env={
                    **os.environ,
                    "DATABASES": json.dumps({"default": connections[using].settings_dict}),
                    "DJANGO_SETTINGS_MODULE": "served.settings",
                    "NOTES": str(notes),
                    "PGAPPNAME": "served",
                    "PYTHONPATH": os.pathsep.join(
                        [str(HERE), str(notes.parent), *filter(None, sys.path)]
                    ),
                    "STORE": store,
                    "URLS": "own_urls"
                    if notes.with_name("own_urls.py").exists()
                    else "served.urls",
                },
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def wait(self) -> None:
        while True:
            assert self.process.poll() is None, f"{self.kind} did not start"
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)

    def url(self, path: str) -> str:
        view = "async" if self.is_async else "sync"
        return f"http://127.0.0.1:{self.port}/{view}/{path}"

    def get(self, path: Any, **headers: str) -> httpx.Response:
        return httpx.get(self.url(path), headers=headers, timeout=60)

    def rows(self, path: Any) -> Any:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    def end(self) -> None:
        """Ends it as a deployment does. It must not hang."""
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()


class Site:
    """Servers of one site, with one file of notes."""

    def __init__(self, folder: Path) -> None:
        self.notes = folder / "notes"
        self.gate = folder / "gate"
        self.servers: list[Server] = []

    def serve(
        self,
        *kinds: str,
        store: str = "memory:",
        using: str = "default",
        listener: socket.socket | None = None,
    ) -> list[Server]:
        made = [Server(kind, self.notes, store, using, listener) for kind in kinds]
        self.servers += made
        for server in made:
            server.wait()
        return made

    def queries(self) -> list[dict[str, Any]]:
        """The queries for tricks since the last look."""
        if not self.notes.exists():
            return []
        found = [json.loads(line) for line in self.notes.read_text().splitlines()]
        self.notes.unlink()
        return found

    def end(self) -> None:
        self.gate.unlink(missing_ok=True)
        for server in self.servers:
            server.end()
        self.servers.clear()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.end()


@pytest.fixture
def store(redis: str) -> str:
    return emptied(redis)


def emptied(url: str) -> str:
    """A store without chunks of another test, whose rows have the same keys."""
    kind, _, address = url.partition("://")
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as server:
        server.sendall(b"FLUSHALL\r\n" if kind == "redis" else b"flush_all\r\n")
        assert server.recv(100).strip() in (b"+OK", b"OK")
    return url


def test_a_list_of_ten_thousand_rows_is_that_of_the_usual_view_in_each_worker_and_after_a_restart(
    site: Site, store: str
) -> None:
    organisation = tricks(10_007)
    expected = usual(of(organisation), serialize)
    assert len(expected) == 10_007

    first, second = site.serve("uvicorn", "gunicorn", store=store)
    for _ in range(2):
        assert first.rows(organisation.pk) == expected
    queries = list(map(sql, site.queries()))
    assert len(queries) == len(set(queries)) > 10

    packed = first.get(organisation.pk, **{"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json()["results"] == expected
    assert second.rows(organisation.pk) == expected
    site.end()
    (again,) = site.serve("uvicorn", store=store)
    assert again.rows(organisation.pk) == expected
    # Neither the other worker nor the one after the restart has asked the database.
    assert site.queries() == []


def test_each_server_sends_the_same_bytes(site: Site) -> None:
    servers = site.serve(*SERVERS, "preloaded")
    for size in (0, 51, 350):
        organisation = tricks(size, seed=size)
        expected = usual(of(organisation), serialize)
        for coding in ("identity", "gzip", "identity", "gzip"):
            answers = [
                server.get(organisation.pk, **{"accept-encoding": coding}) for server in servers
            ]
            assert len({answer.content for answer in answers}) == 1
            for answer in answers:
                assert answer.json()["results"] == expected
                assert answer.headers.get("content-encoding", "identity") == coding


CLIENTS = {
    "requests": """
        import requests, sys
        def ask():
            with requests.get(sys.argv[1], timeout=60) as reply:
                assert reply.status_code == 200
                reply.content
    """,
    "httpx": """
        import httpx, sys
        def ask():
            assert httpx.get(sys.argv[1], timeout=60).status_code == 200
    """,
    "aiohttp": """
        import aiohttp, asyncio, sys
        async def main():
            limit = aiohttp.ClientTimeout(sock_read=60)
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.get(sys.argv[1]) as reply,
            ):
                assert reply.status == 200
                await reply.read()
        def ask():
            asyncio.run(main())
    """,
}
SAY = """
try:
    ask()
except AssertionError:
    raise
except Exception as error:
    print("late" if "imed out" in str(error) or "imeout" in repr(error) else "cut")
else:
    print("whole")
"""
NODE = """
const reply = await fetch(process.argv[1]);
if (reply.status !== 200) process.exit(1);
reply.text().then(() => console.log("whole"), () => console.log("cut"));
"""


def ask_by(client: str, url: str) -> str:
    """What a client in a process of its own says of a list."""
    if client == "node":
        command = ["node", "--input-type=module", "--eval", NODE, url]
    else:
        command = [sys.executable, "-c", textwrap.dedent(CLIENTS[client]) + SAY, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return said.stdout.strip()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_list_that_breaks_off_looks_whole_to_no_client(site: Site, kind: str) -> None:
    organisation = tricks(700)
    Trick.objects.filter(slug="trick-7-120").update(slug="whole")
    (server,) = site.serve(kind)
    clients = [*CLIENTS, "node"]
    for client in clients:
        assert ask_by(client, server.url(f"breaks/{organisation.pk}")) == "whole"

    # A restart: the list has chunks that were read while all was well.
    site.end()
    late = Trick.objects.filter(organisation=organisation).order_by("id")[650]
    Trick.objects.filter(pk=late.pk).update(slug="now-120")
    (server,) = site.serve(kind)
    said = {client: ask_by(client, server.url(f"breaks/{organisation.pk}")) for client in clients}
    assert set(said.values()) == {"cut"}, said


@pytest.mark.parametrize("kind", SERVERS)
def test_a_client_that_leaves_harms_nobody(site: Site, kind: str) -> None:
    organisation = tricks(1_200)
    (server,) = site.serve(kind)
    site.gate.write_text("0")
    leaver = socket.create_connection(("127.0.0.1", server.port))
    target = server.url(organisation.pk).partition(f":{server.port}")[2]
    leaver.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    while not site.notes.exists():
        time.sleep(0.01)
    with ThreadPoolExecutor(1) as clients:
        stays = clients.submit(server.rows, organisation.pk)
        leaver.close()
        site.gate.unlink()
        assert stays.result() == usual(of(organisation), serialize)

    # What was read for the leaver alone may be read again.
    queries = Counter(map(sql, site.queries()))
    assert sorted(queries.values())[:-1] == [1] * (len(queries) - 1), queries
    assert max(queries.values()) <= 2, queries


@pytest.mark.parametrize("store", ["redis", "memcached"])
def test_two_hundred_clients_of_four_workers_have_each_run_of_a_cold_list_read_once(
    site: Site, store: str, request: pytest.FixtureRequest
) -> None:
    store = emptied(request.getfixturevalue(store))
    organisation = tricks(2_000)
    servers = site.serve(*["uvicorn"] * 4, store=store)

    async def ask_all() -> list[bytes]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=300) as client:
            urls = [servers[number % 4].url(organisation.pk) for number in range(200)]
            answers = await asyncio.gather(*map(client.get, urls))
            assert {answer.status_code for answer in answers} == {200}
            return [answer.content for answer in answers]

    bodies = asyncio.run(ask_all())
    assert len(set(bodies)) == 1
    assert json.loads(bodies[0])["results"] == usual(of(organisation), serialize)
    queries = Counter(map(sql, site.queries()))
    assert set(queries.values()) == {1}, queries


def test_a_worker_that_is_killed_while_it_loads_costs_the_others_its_lease_alone(
    site: Site, store: str
) -> None:
    organisation = tricks(1_200)
    expected = usual(of(organisation), serialize)
    first, second = site.serve("uvicorn", "uvicorn", store=store)
    # Two runs of rows are read, and those behind them wait.
    site.gate.write_text("2")
    with ExitStack() as clients:
        lost = clients.enter_context(httpx.stream("GET", first.url(organisation.pk), timeout=60))
        body = lost.iter_bytes()
        read_on(body, expected[0])
        waits = clients.enter_context(httpx.stream("GET", second.url(organisation.pk), timeout=60))
        rest = waits.iter_bytes()
        begun = read_on(rest, expected[0])
        while len(site.notes.read_text().splitlines()) < 3:
            time.sleep(0.01)
        first.process.kill()
        with pytest.raises(httpx.TransportError):
            list(body)
        site.gate.unlink()
        assert json.loads(begun + b"".join(rest))["results"] == expected

    queries = site.queries()
    by_first = [sql(note) for note in queries if note["process"] == first.process.pid]
    by_second = [sql(note) for note in queries if note["process"] == second.process.pid]
    assert len(by_first) == 3
    # What the lost worker had read is read by nobody else, and what it was reading once more.
    assert not set(by_first[:2]) & set(by_second)
    assert len(set(by_second)) == len(by_second) <= 3


def sql(note: dict[str, Any]) -> str:
    query: str = note["query"]
    return query


def read_on(body: Iterator[bytes], row: dict[str, Any]) -> bytes:
    """What comes of a body until this row is there."""
    mark = json.dumps(row["token"]).encode()
    found = b""
    while mark not in found:
        found += next(body)
    return found


def test_a_reload_of_runserver_in_the_middle_of_a_list_neither_hangs_nor_crashes(
    site: Site,
) -> None:
    organisation = tricks(1_200)
    own = site.notes.with_name("own_urls.py")
    own.write_text("from served.urls import urlpatterns")
    (server,) = site.serve("runserver")
    before = server.get("state").json()["process"]
    # The first rows are sent, and the next are being read.
    site.gate.write_text("2")
    with ExitStack() as clients:
        begin(server.url(organisation.pk), clients)
        while len(site.notes.read_text().splitlines()) < 3:
            time.sleep(0.01)
        changed = own.stat().st_mtime + 10
        os.utime(own, (changed, changed))
        while state_of(server).get("process", before) == before:
            time.sleep(0.05)
    site.gate.unlink()
    assert server.rows(organisation.pk) == usual(of(organisation), serialize)
    said = site.notes.with_name("errors").read_text()
    assert "panicked" not in said
    assert "Fatal Python error" not in said


def state_of(server: Server) -> dict[str, Any]:
    """What the server says of itself; nothing while it starts again."""
    try:
        state: dict[str, Any] = server.get("state").json()
    except httpx.TransportError:
        return {}
    return state


SLOW = 1_000


def begin(url: str, clients: ExitStack) -> http.client.HTTPResponse:
    """What a client gets that takes the head of the response, and nothing more for now."""
    address, _, target = url.removeprefix("http://").partition("/")
    host, port = address.split(":")
    client = clients.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
    client.connect((host, int(port)))
    client.sendall(f"GET /{target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    response = clients.enter_context(http.client.HTTPResponse(client))
    response.begin()
    return response


def test_a_thousand_slow_clients_hold_no_connection_and_no_thread_more_than_django_s_own_stream(
    site: Site,
) -> None:
    organisation = tricks(2_500, "postgres")
    with socket.create_server(("127.0.0.1", 0), backlog=SLOW) as listener:
        # Else the kernel takes a good part of each list from the server.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        (server,) = site.serve("uvicorn", using="postgres", listener=listener)
    whole = server.get(organisation.pk).content
    assert json.loads(whole)["results"] == usual(of(organisation, "postgres"), serialize)
    site.queries()
    nobody = server.get("state").json()["under way"]

    def threads(path: Any) -> int:
        """The threads of the server beside clients that are in the middle of this."""
        with ExitStack() as clients:
            slow = [begin(server.url(path), clients) for _ in range(SLOW)]
            state = server.get("state").json()
            assert state["under way"] == nobody + SLOW
            assert connected() == 0
            # A fast one beside them.
            assert server.get(organisation.pk).content == whole
            assert connected() == 0
            for response in slow[::100]:
                assert len(response.read()) >= len(whole)
        while server.get("state").json()["under way"] > nobody:
            time.sleep(0.05)
        return int(state["threads"])

    def connected() -> int:
        with connections["postgres"].cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'served'"
            )
            return int(cursor.fetchone()[0])

    bare = threads(f"bare/{len(whole)}")
    assert threads(organisation.pk) <= bare
    assert site.queries() == []
