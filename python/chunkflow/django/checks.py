"""What is wrong with the settings. `manage.py check` says it too, under the tag `chunkflow`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import WARNING, CheckMessage, Error, Info, register
from django.core.exceptions import ImproperlyConfigured

from .conf import conf
from .watch import is_any_watched
from .workers import workers


@register("chunkflow")
def check(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """What `manage.py check` and `runserver` say: what is wrong."""
    messages = found(os.environ, Path(getattr(settings, "BASE_DIR", ".")))
    return [one for one in messages if one.level >= WARNING]


def found(environment: Mapping[str, str], folder: Path) -> list[CheckMessage]:
    """What is wrong, and what could be better, where the server is started like this."""
    try:
        here = conf()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="chunkflow.E001")]

    messages: list[CheckMessage] = []
    said = workers(environment, folder)
    if here.store.startswith("memory:") and said is not None and said[0] > 1:
        messages.append(
            Error(
                f"each of {said[0]} workers ({said[1]}) has chunks of its own in its memory, so a "
                "change reaches one of them, and the others show the old rows",
                hint="Set CHUNKFLOW = {'STORE': 'redis://…'}, or serve by one worker.",
                id="chunkflow.E002",
            )
        )
    if not here.store:
        messages.append(
            Info(
                "the cache is a DummyCache, so no list is cached",
                hint="Set CHUNKFLOW = {'STORE': 'memory:'} or another store.",
                id="chunkflow.I003",
            )
        )

    middleware = "chunkflow.django.ChunkflowMiddleware"
    names = {middleware, "chunkflow.django.middleware.ChunkflowMiddleware"}
    is_shared = bool(here.store) and not here.store.startswith("memory:")
    if is_shared and is_any_watched() and not names & set(settings.MIDDLEWARE):
        messages.append(
            Info(
                "who changes a row may see it as it was for up to two seconds, in another worker",
                hint=f"Add '{middleware}' to MIDDLEWARE.",
                id="chunkflow.I004",
            )
        )
    if not is_any_watched():
        messages.append(
            Info(
                "no model is watched, so lists are as old as `ttl` and `stale` allow",
                hint="Call chunkflow.django.watch(Model, …) in `ready()` of an AppConfig.",
                id="chunkflow.I005",
            )
        )
    return messages
