"""`uvicorn listed.asgi:application`, with the port of PostgreSQL in LISTED_POSTGRES.

LISTED_CACHE is a redis:// URL; without it the cache is the memory of the process.
`python -m listed.asgi ROWS…` makes an organisation with so many rows for each."""

import logging
import os
import sys

import django
from django.conf import settings
from django.core.asgi import get_asgi_application

BACKENDS = "django.core.cache.backends"
URL = os.environ.get("LISTED_CACHE")
LOCAL = {"BACKEND": f"{BACKENDS}.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 10_000}}
settings.configure(
    ALLOWED_HOSTS=["*"],
    CACHES={"default": {"BACKEND": f"{BACKENDS}.redis.RedisCache", "LOCATION": URL} if URL else LOCAL},
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "chunkflow",
            "HOST": "127.0.0.1",
            "PORT": os.environ["LISTED_POSTGRES"],
            "CONN_MAX_AGE": None,
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["listed"],
    ROOT_URLCONF="listed.views",
    TIME_ZONE="UTC",
    USE_TZ=True,
)
logging.basicConfig(level=logging.WARNING)
django.setup()


def make(sizes):
    """The tables, and in them organisations with so many tricks each."""
    import datetime

    from django.core.management import call_command
    from listed.models import Author, Category, Organisation, Technology, Trick

    call_command("migrate", run_syncdb=True, verbosity=0)
    authors = Author.objects.bulk_create(Author(name=f"Author {at}") for at in range(97))
    categories = Category.objects.bulk_create(Category(slug=f"category-{at}") for at in range(23))
    technologies = Technology.objects.bulk_create(Technology(slug=f"technology-{at}") for at in range(31))
    noon = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.timezone.utc)
    for size in sizes:
        organisation = Organisation.objects.create(name=f"with {size}")
        rows = Trick.objects.bulk_create(
            Trick(
                slug=f"stream-every-request-{size}-{at}",
                title=f"Stream every request under load, number {at}",
                teaser="A short word.",
                created=noon + datetime.timedelta(minutes=at),
                organisation=organisation,
                author=authors[at % 97] if at % 5 else None,
            )
            for at in range(size)
        )
        for name, others in (("categories", categories), ("technologies", technologies)):
            through = getattr(Trick, name).through
            column = Trick._meta.get_field(name).m2m_reverse_name()
            through.objects.bulk_create(
                through(trick_id=row.pk, **{column: others[(at * 7 + more) % len(others)].pk})
                for at, row in enumerate(rows)
                for more in range(at % 3)
            )


if __name__ == "__main__":
    make(map(int, sys.argv[1:]))
else:
    application = get_asgi_application()
