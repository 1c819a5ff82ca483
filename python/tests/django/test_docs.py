"""The code of docs/django.md works, and its two views give the same list."""

from __future__ import annotations

import datetime
import json
import linecache
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import AppConfig
from django.test import AsyncRequestFactory, RequestFactory
from tricks.models import Author, Category, Organisation, Trick

from chunkflow import django
from chunkflow.django import conf
from chunkflow.django.conf import forget
from chunkflow.django.watch import _target

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENT = Path(__file__).parents[3] / "docs/django.md"


def blocks() -> Iterator[str]:
    """The blocks of Python that are not marked as ones which do not run."""
    inside: list[str] | None = None
    for line in DOCUMENT.read_text().splitlines():
        if line == "```" and inside is not None:
            yield "\n".join(inside) + "\n"
            inside = None
        elif inside is not None:
            inside.append(line)
        elif line == "```python":
            inside = []


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """A module in the application whose models the document names."""
    one = types.ModuleType("tricks.in_docs")
    one.__package__ = "tricks"
    sys.modules[one.__name__] = one
    forget()
    yield one
    del sys.modules[one.__name__]
    forget()


def run(module: types.ModuleType, number: int) -> Any:
    text = list(blocks())[number]
    name = f"{DOCUMENT.name}, block {number}"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), module.__dict__)
    return module.__dict__


@pytest.fixture
def request_kinds() -> tuple[Any, Any]:
    organisation = Organisation.objects.create(name="acme")
    other = Organisation.objects.create(name="other")
    author = Author.objects.create(name="Ada")
    categories = [Category.objects.create(slug=slug) for slug in ("css", "html")]
    noon = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.timezone.utc)
    for at in range(130):
        trick = Trick.objects.create(
            slug=f"t{at}",
            title=f"Trick {at}",
            created=noon + datetime.timedelta(minutes=at),
            author=author if at % 2 else None,
            organisation=other if at % 10 == 0 else organisation,
        )
        trick.categories.set(categories[: at % 3])

    kinds = AsyncRequestFactory().get("/"), RequestFactory().get("/")
    for one in kinds:
        one.organisation = organisation  # type: ignore[attr-defined]
    return kinds


async def rows(response: Any) -> Any:
    if response.streaming:
        parts = [one if isinstance(one, bytes) else one.encode() async for one in response]
    else:
        parts = [response.content]
    return json.loads(b"".join(parts))["results"]


async def test_the_view_of_one_line_gives_what_the_usual_view_gives(
    module: types.ModuleType, request_kinds: tuple[Any, Any]
) -> None:
    usual = run(module, 0)["trick_list"]
    new = run(module, 1)["trick_list"]
    expected = await rows(await usual(request_kinds[0]))
    assert len(expected) == 117
    assert await rows(await new(request_kinds[0])) == expected
    assert await rows(await new(request_kinds[0])) == expected


def test_the_serializers_of_the_document_work(
    module: types.ModuleType, request_kinds: tuple[Any, Any]
) -> None:
    run(module, 1)
    found = run(module, 2)
    for name, members in (("brief_list", ["title", "created"]), ("value_list", ["id", "title"])):
        response = found[name](request_kinds[1])
        rows = json.loads(response.getvalue())["results"]
        assert len(rows) == 130, name
        assert list(rows[0]) == members
    csv = RequestFactory().get("/?created=gte.2026-01-02T13:00:00Z", headers={"accept": "text/csv"})
    lines = found["brief_list"](csv).getvalue().decode().split("\r\n")
    assert lines[0] == "title,created"
    assert len(lines) == 72


def test_what_the_document_watches_can_be_watched(
    module: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[Any] = []

    def note(*models: Any, via: dict[Any, str]) -> None:
        watched.extend(models)
        watched.extend(_target(model, names) for model, names in via.items())

    # Else the other tests would tell of these models too.
    monkeypatch.setattr(django, "watch", note)
    config = run(module, 3)["TricksConfig"]
    assert issubclass(config, AppConfig)
    config("tricks", sys.modules["tricks"]).ready()
    assert watched == [Trick, Author, Category, Trick]


def test_the_commands_and_names_of_the_document_are_there() -> None:
    text = DOCUMENT.read_text()
    for name in ("stream", "stream_sync", "watch", "changed", "ChangesManager", "ChangesQuerySet"):
        assert f"`{name}" in text or f"import {name}" in text
        assert hasattr(django, name)
    table = text.split("| key | says | default |")[1].split("\n\n")[0]
    said = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert said | {"CACHE_IN_TESTS"} == set(conf._NAMES)
