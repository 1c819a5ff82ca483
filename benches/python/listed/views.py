"""The same rows in the same JSON, made in each way."""

import datetime
import json

from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.cache import cache_page
from ninja import NinjaAPI, Schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer

from chunkflow.django import stream
from chunkflow.django.conf import flow

from .models import Trick

CHUNK = 50
HEADERS = {"Cache-Control": "no-store"}


def tricks(organisation):
    rows = Trick.objects.filter(organisation=organisation).select_related("author")
    return rows.prefetch_related("categories", "technologies").order_by("-created", "-id")


def trick(row, links):
    return {
        "title": row.title,
        "teaser": row.teaser,
        "created": row.created,
        "url": links(row.get_absolute_url()),
        "author": row.author.name if row.author else None,
        "categories": [category.slug for category in row.categories.all()],
        "technologies": [technology.slug for technology in row.technologies.all()],
    }


def links(request):
    return request.build_absolute_uri


async def empty(request):
    return HttpResponse()


async def usual(request, organisation):
    """Slices of the query, each kept in the cache."""
    rows = tricks(organisation)

    async def body():
        yield '{"results":['
        offset = 0
        while True:
            key = f"tricks:{organisation}:{offset}"
            part = await cache.aget(key)
            if part is None:
                absolute = links(request)
                part = [trick(row, absolute) async for row in rows[offset : offset + CHUNK]]
                await cache.aset(key, part, timeout=300)
            for index, row in enumerate(part):
                yield ("," if offset or index else "") + json.dumps(row, cls=DjangoJSONEncoder)
            if len(part) < CHUNK:
                break
            offset += CHUNK
        yield "]}"

    return StreamingHttpResponse(body(), content_type="application/json", headers=HEADERS)


async def aiterator(request, organisation):
    """One query, streamed; nothing is kept."""

    async def body():
        absolute = links(request)
        comma = ""
        yield '{"results":['
        async for row in tricks(organisation).aiterator(chunk_size=500):
            yield comma + json.dumps(trick(row, absolute), cls=DjangoJSONEncoder)
            comma = ","
        yield "]}"

    return StreamingHttpResponse(body(), content_type="application/json", headers=HEADERS)


def whole(request, organisation):
    absolute = links(request)
    rows = [trick(row, absolute) for row in tricks(organisation).iterator(chunk_size=500)]
    return json.dumps({"results": rows}, cls=DjangoJSONEncoder).encode()


def iterator(request, organisation):
    """The whole list at once, by a plain `iterator()`; nothing is kept."""
    return HttpResponse(whole(request, organisation), content_type="application/json")


class Listed(serializers.ModelSerializer):
    url = serializers.SerializerMethodField()
    author = serializers.SlugRelatedField("name", read_only=True)
    categories = serializers.SlugRelatedField("slug", many=True, read_only=True)
    technologies = serializers.SlugRelatedField("slug", many=True, read_only=True)

    class Meta:
        model = Trick
        fields = (
            "title",
            "teaser",
            "created",
            "url",
            "author",
            "categories",
            "technologies",
        )

    def get_url(self, row):
        return self.context["request"].build_absolute_uri(row.get_absolute_url())


def drf(request, organisation):
    """Django REST framework's serializer and renderer; nothing is kept."""
    rows = Listed(tricks(organisation), many=True, context={"request": request}).data
    return HttpResponse(JSONRenderer().render({"results": rows}), content_type="application/json")


class TrickOut(Schema):
    title: str
    teaser: str
    created: datetime.datetime
    url: str
    author: str | None
    categories: list[str]
    technologies: list[str]

    @staticmethod
    def resolve_url(row, context):
        return context["request"].build_absolute_uri(row.get_absolute_url())

    @staticmethod
    def resolve_author(row):
        return row.author.name if row.author else None

    @staticmethod
    def resolve_categories(row):
        return [category.slug for category in row.categories.all()]

    @staticmethod
    def resolve_technologies(row):
        return [technology.slug for technology in row.technologies.all()]


class ListOut(Schema):
    results: list[TrickOut]


api = NinjaAPI()


@api.get("/ninja/{organisation}", response=ListOut)
def ninja(request, organisation: int):
    """django-ninja's schema and renderer; nothing is kept."""
    return {"results": list(tricks(organisation))}


@cache_page(300)
def page(request, organisation):
    """The whole response, kept by `cache_page`."""
    absolute = links(request)
    rows = [trick(row, absolute) for row in tricks(organisation).iterator(chunk_size=500)]
    return JsonResponse({"results": rows})


async def body(request, organisation):
    """The whole body, kept by `cache.get_or_set`."""

    def make():
        return whole(request, organisation)

    found = await cache.aget(f"body:{organisation}")
    if found is None:
        found = await sync_to_async(make)()
        await cache.aset(f"body:{organisation}", found, timeout=300)
    return HttpResponse(found, content_type="application/json", headers=HEADERS)


async def made(request, organisation):
    """The body in pieces that are made once."""
    if organisation not in pieces_of:
        body = await sync_to_async(whole)(request, organisation)
        pieces_of[organisation] = body, [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
    return pieces_of[organisation]


PIECE = 64 << 10
pieces_of = {}


async def ready(request, organisation):
    """What Django and the server cost by themselves: bytes that are there."""
    body, _ = await made(request, organisation)
    return HttpResponse(body, content_type="application/json", headers=HEADERS)


async def built(request, organisation):
    """The same behind a queryset that is built, and not used."""
    body, _ = await made(request, organisation)
    tricks(organisation)
    return HttpResponse(body, content_type="application/json", headers=HEADERS)


async def pieces(request, organisation):
    """The same, streamed."""
    _, parts = await made(request, organisation)

    async def body():
        for part in parts:
            yield part

    return StreamingHttpResponse(body(), content_type="application/json", headers=HEADERS)


async def chunkflow(request, organisation):
    return await stream(request, tricks(organisation), trick, ttl=300)


async def forget(request):
    """Empties every cache."""
    await cache.aclear()
    await flow().purge(Trick._meta.db_table)
    return HttpResponse()


urlpatterns = [
    path("empty", empty),
    path("forget", forget),
    path("", api.urls),
    *(
        path(f"{view.__name__}/<int:organisation>", view)
        for view in (usual, aiterator, iterator, drf, page, body, chunkflow, ready, built, pieces)
    ),
]
