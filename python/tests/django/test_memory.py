"""Views keep nothing of their requests. test_leaks.py says how more of them are made."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import RequestFactory, override_settings
from made import tricks
from serializers import serialize
from test_leaks import REQUESTS, in_memory, show
from test_stream import body, of
from tricks.models import Organisation, Trick

from chunkflow.django import changed, conf, stream_sync
from chunkflow.django.recent import Recent

pytestmark = pytest.mark.django_db(transaction=True)
GET = RequestFactory().get
ASKED = REQUESTS // 20
"""A request of Django takes as long as twenty of the flow."""


@pytest.fixture(autouse=True)
def organisation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Organisation]:
    # What is remembered within a bound, and the room for chunks, is soon full.
    for one in gc.get_objects():
        if type(one) is Recent:
            monkeypatch.setattr(one, "most", ASKED // 100)
    with override_settings(CHUNKFLOW={"CACHE_IN_TESTS": True, "MEMORY": 1 << 16}):
        conf.forget()
        yield tricks(50)
    conf.forget()


def warm(organisation: Organisation, number: int) -> None:
    body(stream_sync(GET("/"), of(organisation), serialize))


def by_parameter(organisation: Organisation, number: int) -> None:
    """A list of its own for each request, by a value in its query."""
    queryset = Trick.objects.filter(organisation=organisation, id__gt=-number).order_by("id")
    body(stream_sync(GET(f"/?q={number}&limit=5"), queryset, brief, params={"q"}))


def by_key(organisation: Organisation, number: int) -> None:
    """A list and a serializer of its own for each request."""

    def own(trick: Trick) -> dict[str, Any]:
        return {"id": trick.pk, "number": number}

    queryset = Trick.objects.filter(organisation=organisation).order_by("id")
    body(stream_sync(GET("/?limit=5"), queryset, own, key=number))


def by_filter(organisation: Organisation, number: int) -> None:
    queryset = Trick.objects.filter(organisation=organisation).order_by("-created")
    body(stream_sync(GET(f"/?id=gt.-{number}&limit=5"), queryset, brief, filters=["id"]))


def told(organisation: Organisation, number: int) -> None:
    changed(Trick, [number])
    body(stream_sync(GET("/?limit=5"), of(organisation), serialize))


def refused(organisation: Organisation, number: int) -> None:
    with pytest.raises(ValueError, match="nothing named"):
        stream_sync(GET("/"), Trick.objects.all(), brief, order=f"nothing_{number}")


def brief(trick: Trick) -> dict[str, Any]:
    return {"id": trick.pk}


@pytest.mark.parametrize("ask", [warm, by_parameter, by_key, by_filter, told, refused])
def test_requests_leave_memory_flat(
    ask: Callable[[Organisation, int], None], organisation: Organisation
) -> None:
    measured, blocks = [], []
    for tenth in range(10):
        for number in range(ASKED // 10):
            ask(organisation, 1 + tenth * ASKED + number)
        gc.collect()
        measured.append(in_memory())
        blocks.append(sys.getallocatedblocks())
    show(measured)
    # Fewer than three objects for each request of the second half: a request alone has more, and
    # what is remembered within a bound may not be full yet.
    assert blocks[-1] - blocks[4] < ASKED // 2 * 3, blocks
