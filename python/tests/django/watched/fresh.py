"""A site whose lists are read and changed by requests."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from chunkflow.django import stream_sync

from .models import Trick


def shown(row: Trick) -> dict[str, Any]:
    return {
        "id": row.pk,
        "title": row.title,
        "body": row.body,
        "author": row.author.name if row.author else None,
        "categories": [category.slug for category in row.categories.all()],
    }


@transaction.non_atomic_requests
def tricks(request: HttpRequest, organisation: int) -> HttpResponseBase:
    rows = Trick.objects.filter(organisation=organisation).select_related("author")
    return stream_sync(request, rows.order_by("slug").prefetch_related("categories"), shown)


@csrf_exempt
def rename(request: HttpRequest, key: int) -> HttpResponse:
    trick = Trick.objects.get(pk=key)
    trick.title = request.GET["title"]
    trick.save()
    return HttpResponse(status=204)


urlpatterns = [path("<int:organisation>/tricks/", tricks), path("rename/<int:key>/", rename)]
