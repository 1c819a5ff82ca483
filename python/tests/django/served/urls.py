"""Lists that note each of their queries in a file. While there is a gate, with a number, so many
are let through and the others wait."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from django.core.signals import request_finished, request_started
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from serializers import broken, serialize
from tricks.models import Trick

from chunkflow.django import stream, stream_sync

NOTES = Path(os.environ["NOTES"])
GATE = NOTES.with_name("gate")


def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    if sql.startswith("SELECT") and 'FROM "tricks_trick"' in sql:
        line = json.dumps({"process": os.getpid(), "query": f"{sql} {params}"})
        with NOTES.open("a") as notes:
            notes.write(f"{line}\n")
        number = len(NOTES.read_text().splitlines())
        while number > let_through():
            time.sleep(0.01)
    return execute(sql, params, many, context)


def let_through() -> float:
    try:
        return int(GATE.read_text())
    except FileNotFoundError:
        return math.inf


def notes(connection: Any, **_: Any) -> None:
    # It is the same one each time that it connects again.
    if note not in connection.execute_wrappers:
        connection.execute_wrappers.append(note)


connection_created.connect(notes)


class UnderWay:
    """How many requests are under way."""

    def __init__(self) -> None:
        self.count = 0
        self.lock = threading.Lock()

    def begins(self, **_: Any) -> None:
        with self.lock:
            self.count += 1

    def ends(self, **_: Any) -> None:
        with self.lock:
            self.count -= 1


under_way = UnderWay()
request_started.connect(under_way.begins)
request_finished.connect(under_way.ends)


def of(pk: int) -> Any:
    rows = Trick.objects.filter(organisation=pk).order_by("-created", "-id")
    return rows.select_related("author").prefetch_related("categories", "comments")


async def tricks(request: HttpRequest, pk: int) -> HttpResponseBase:
    return await stream(request, of(pk), serialize)


def tricks_sync(request: HttpRequest, pk: int) -> HttpResponseBase:
    return stream_sync(request, of(pk), serialize)


async def breaks(request: HttpRequest, pk: int) -> HttpResponseBase:
    return await stream(request, Trick.objects.filter(organisation=pk).order_by("id"), broken)


def breaks_sync(request: HttpRequest, pk: int) -> HttpResponseBase:
    return stream_sync(request, Trick.objects.filter(organisation=pk).order_by("id"), broken)


async def bare(request: HttpRequest, size: int) -> HttpResponseBase:
    """A stream of Django's own."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(0, size, 1 << 16):
            yield b"x" * (1 << 16)

    return StreamingHttpResponse(body())


async def state(request: HttpRequest) -> HttpResponseBase:
    return JsonResponse(
        {
            "process": os.getpid(),
            "threads": threading.active_count(),
            "under way": under_way.count,
        }
    )


urlpatterns = [
    path("async/state", state),
    path("sync/state", state),
    path("async/bare/<int:size>", bare),
    path("async/<int:pk>", tricks),
    path("sync/<int:pk>", tricks_sync),
    path("async/breaks/<int:pk>", breaks),
    path("sync/breaks/<int:pk>", breaks_sync),
]
