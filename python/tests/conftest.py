"""What all tests share: flows that end with the test, and real servers on free ports."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chunkflow import Flow

SERVERS = Path(__file__).parents[2] / "tests" / "servers"


@pytest.fixture
def flows() -> Iterator[Callable[..., Flow]]:
    """Makes flows that are closed after the test."""
    made: list[Flow] = []

    def make(*arguments: object, **settings: object) -> Flow:
        made.append(Flow(*arguments, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for flow in made:
        flow.close()


@pytest.fixture
def flow(flows: Callable[..., Flow]) -> Flow:
    return flows()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def served(kind: str) -> Iterator[int]:
    """A server of this kind; it ends with the tests."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        port = free_port()
        server = subprocess.Popen(
            [SERVERS / kind, folder, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        said = server.stdout.readline()
        assert said == "ready\n", said + server.stdout.read()
        yield port
        server.communicate()


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    for port in served("redis"):
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def memcached() -> Iterator[str]:
    for port in served("memcached"):
        yield f"memcached://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    for port in served("postgres"):
        yield f"postgresql://chunkflow@127.0.0.1:{port}/postgres"


@pytest.fixture(scope="session")
def mariadb() -> Iterator[int]:
    yield from served("mariadb")
