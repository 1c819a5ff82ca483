"""`uvicorn habit.asgi:application`, with the SQLite file in HABIT_DATABASE and the cache in HABIT_CACHE: a redis:// URL, or nothing for none."""

import json
import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.cache import cache
from django.http import StreamingHttpResponse
from django.urls import path

BACKENDS = "django.core.cache.backends"
URL = os.environ.get("HABIT_CACHE")
settings.configure(
    ALLOWED_HOSTS=["*"],
    CACHES={"default": {"BACKEND": f"{BACKENDS}.redis.RedisCache", "LOCATION": URL} if URL else {"BACKEND": f"{BACKENDS}.dummy.DummyCache"}},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["HABIT_DATABASE"]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["habit"],
    ROOT_URLCONF=__name__,
)
django.setup()

from habit.models import Trick  # noqa: E402 (models want the settings first)

CHUNK = 50
PUBLISHED = ["published", "published_outdated"]


def serialize(request, trick):
    return {
        "title": trick.title,
        "url": request.build_absolute_uri(trick.get_absolute_url()),
        "categories": [category.slug for category in trick.categories.all()],
        "technologies": [technology.slug for technology in trick.technologies.all()],
    }


async def tricks(request):
    queryset = Trick.objects.filter(publishing_status__in=PUBLISHED).prefetch_related("categories", "technologies").order_by("id")

    async def body():
        yield '{"results":['
        offset = 0
        while True:
            key = f"tricks:{offset}:{CHUNK}"
            rows = await cache.aget(key)
            if rows is None:
                rows = [serialize(request, trick) async for trick in queryset[offset : offset + CHUNK]]
                await cache.aset(key, rows, timeout=300)
            for index, row in enumerate(rows):
                yield ("," if offset or index else "") + json.dumps(row)
            if len(rows) < CHUNK:
                break
            offset += CHUNK
        yield "]}"

    return StreamingHttpResponse(body(), content_type="application/json", headers={"Cache-Control": "no-store"})


urlpatterns = [path("tricks", tricks)]
application = get_asgi_application()
