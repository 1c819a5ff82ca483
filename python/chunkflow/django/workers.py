"""How many processes serve, as far as the machine says."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

SEVERAL = 2
"""What a number stands for that is computed when the server starts."""

_OPTIONS = ("-w", "--workers", "--processes", "-p")
_SERVERS = ("gunicorn", "uvicorn", "hypercorn", "granian", "uwsgi", "daphne")


def workers(environment: Mapping[str, str], folder: Path) -> tuple[int, str] | None:
    """The number of workers and where it stands; `None` if nothing says it. If several places say
    it, the most counts."""
    found = list(_said(environment, folder))
    return max(found, key=lambda one: one[0]) if found else None


def _said(environment: Mapping[str, str], folder: Path) -> Iterator[tuple[int, str]]:
    several = environment.get("WEB_CONCURRENCY", "")
    if several.isdigit():
        yield int(several), "WEB_CONCURRENCY"
    for number in _of_command(f"gunicorn {environment.get('GUNICORN_CMD_ARGS', '')}"):
        yield number, "GUNICORN_CMD_ARGS"

    text = _read(folder / "gunicorn.conf.py")
    for number in _of_python(text):
        yield number, "gunicorn.conf.py"
    for name in ("Procfile", "Dockerfile", "docker-compose.yml", "compose.yaml"):
        for line in _read(folder / name).splitlines():
            for number in _of_command(line):
                yield number, name


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _of_python(text: str) -> Iterator[int]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        if any(isinstance(one, ast.Name) and one.id == "workers" for one in node.targets):
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            yield value if isinstance(value, int) else SEVERAL


def _of_command(line: str) -> Iterator[int]:
    """The number in a command line, which may stand in a list of JSON."""
    try:
        words = shlex.split(re.sub(r"[\[\],]", " ", line), comments=True)
    except ValueError:
        return
    if not any(word.rpartition("/")[2] in _SERVERS for word in words):
        return

    for word, next_word in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option in _OPTIONS:
            yield from _number(value if equals else next_word)
        elif re.fullmatch(r"-w\d+", word):
            yield int(word[2:])


def _number(text: str) -> Iterator[int]:
    if text.isdigit():
        yield int(text)
    elif "$" in text:
        yield SEVERAL
