"""Settings of the tests: SQLite in two files, and PostgreSQL, whose port conftest.py fills in."""

import tempfile
from pathlib import Path

FOLDER = Path(tempfile.mkdtemp(prefix="chunkflow-django-"))

SECRET_KEY = "of the tests"
ALLOWED_HOSTS = ["testserver", "one.example", "two.example"]
USE_TZ = True
ROOT_URLCONF = "urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "chunkflow.django",
    "tricks",
    "watched",
]
# Django makes the tables of applications with migrations last, and ours point to some of them.
MIGRATION_MODULES = {"contenttypes": None, "auth": None}
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("fr", "français")]


def _sqlite(name: str) -> dict[str, object]:
    # In a file, since threads do not share a database in memory.
    path = str(FOLDER / f"{name}.sqlite")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "TEST": {"NAME": path},
        "OPTIONS": {"timeout": 20},
    }


DATABASES = {
    "default": _sqlite("default"),
    "other": _sqlite("other"),
    "postgres": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "chunkflow",
        "HOST": "127.0.0.1",
        "PORT": "",
        "TEST": {"NAME": "test_tricks"},
    },
}

DATABASES["tenants"] = {
    **DATABASES["postgres"],
    "ENGINE": "django_tenants.postgresql_backend",
    "TEST": {"MIRROR": "postgres"},
}

# The tests are of what is cached; by default nothing is while tests run.
CHUNKFLOW = {"CACHE_IN_TESTS": True}
