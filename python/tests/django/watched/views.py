"""Lists that `chunkflow_check` looks at."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import F
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import include, path
from django.views import View

import chunkflow.django
from chunkflow.django import stream, stream_sync

from .models import Category, Item, Trick


def title(row: Trick) -> dict[str, Any]:
    return {"title": row.title}


def with_organisation(row: Trick) -> dict[str, Any]:
    return {"title": row.title, "organisation": row.organisation.name}


def slug(row: Category) -> dict[str, Any]:
    return {"slug": row.slug}


def name(row: Item) -> dict[str, Any]:
    return {"name": row.name}


async def well(request: HttpRequest) -> HttpResponseBase:
    return await stream(request, Category.objects.order_by("slug"), slug)


def unindexed(request: HttpRequest) -> HttpResponseBase:
    return stream_sync(request, Trick.objects.all(), title, filters=["title", "organisation"])


def of_one(request: HttpRequest, number: int) -> HttpResponseBase:
    return stream_sync(request, Item.objects.filter(organisation=number), name)


def asks_for_each(request: HttpRequest) -> HttpResponseBase:
    return stream_sync(request, Trick.objects.order_by("slug"), with_organisation)


def by_another_table(request: HttpRequest) -> HttpResponseBase:
    return stream_sync(request, Trick.objects.order_by("author__name"), title)


def of_postgres(request: HttpRequest, number: int) -> HttpResponseBase:
    rows = Item.objects.using("postgres").filter(organisation=number)
    return stream_sync(request, rows.order_by("-rank", "-pk"), name, filters=["name", "rank"])


def refused(request: HttpRequest) -> HttpResponseBase:
    return stream_sync(request, Trick.objects.order_by("?"), title)


@login_required
def of_users(request: HttpRequest) -> HttpResponseBase:
    return stream_sync(request, Category.objects.order_by("slug"), slug)


def decorated(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any) -> Any:
        return view(request, *args)

    return wrapper


class Listed(View):
    def get(self, request: HttpRequest) -> HttpResponseBase:
        return self.answer(request)

    def answer(self, request: HttpRequest) -> HttpResponseBase:
        return chunkflow.django.stream_sync(request, Category.objects.order_by("slug"), slug)


def helped(request: HttpRequest) -> HttpResponseBase:
    return _help(request)


def _help(request: HttpRequest) -> HttpResponseBase:
    return stream_sync(request, Category.objects.order_by(F("slug")), slug)


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [
    path("well/", well),
    path("plain/", plain),
    path("listed/", Listed.as_view()),
    path("decorated/", decorated(helped)),
    path("organisations/<int:number>/items/", of_one),
    path("more/", include([path("of-users/", of_users)])),
]
