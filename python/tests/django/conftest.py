"""What the tests of the Django module share."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SERVERS = HERE.parents[2] / "tests" / "servers"

sys.path.insert(0, str(HERE))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

import django  # noqa: E402

django.setup()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def postgres_port() -> Iterator[int]:
    """A PostgreSQL server of the tests' own."""
    port = free_port()
    # Its user must be able to enter the folder, so it is not one of pytest's.
    folder = Path(tempfile.mkdtemp(prefix="chunkflow-postgres-"))
    folder.chmod(0o755)
    server = subprocess.Popen(
        [SERVERS / "postgres", folder, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line == "ready\n", line
    yield port

    server.stdin.close()
    server.wait(30)
    server.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_port: int) -> None:
    from django.conf import settings
    from django.db import connections

    for alias in ("postgres", "tenants"):
        settings.DATABASES[alias]["PORT"] = str(postgres_port)
        connections[alias].settings_dict["PORT"] = str(postgres_port)


@pytest.fixture(autouse=True, scope="session")
def _files() -> Iterator[None]:
    yield
    from django.conf import settings

    shutil.rmtree(settings.FOLDER, ignore_errors=True)
