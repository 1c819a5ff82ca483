"""Serializers that read a state of the program, each in its way."""

from __future__ import annotations

import dataclasses
import enum
import functools
import logging
import os
import pathlib
import random
import re
import threading
import zoneinfo
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, NamedTuple

import elsewhere
from asgiref.local import Local
from django.conf import settings
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.utils.functional import SimpleLazyObject
from django.utils.html import format_html
from django.utils.translation import gettext_lazy
from elsewhere import who
from tricks.models import Trick

import states.current
import states.inner.current

Row = dict[str, Any]


class Config:
    tenant = "nobody"
    log = threading.local()


class Holder:
    def __init__(self) -> None:
        self.who = "nobody"

    def asked(self) -> str:
        return self.who


class Odd:
    """Its state is not in its attributes."""

    __slots__ = ("who",)


HOLDER = Holder()
ODD = Odd()
ODD.who = "nobody"
VARIABLE: ContextVar[str] = ContextVar("variable", default="nobody")
LOCAL = threading.local()
OF_ASGI = Local()
LAZY = SimpleLazyObject(lambda: HOLDER)
MIXED: dict[str, Any] = {"lock": threading.Lock(), "who": "nobody"}
LISTED: list[Any] = [object, {"who": "nobody"}]
FORMS = {"who": who}
CLIENT: Any = None
LOGGER = logging.getLogger("states")
WORDS = re.compile("nobody")
LOCK = threading.Lock()


def of_a_class(row: Trick) -> Row:
    return {"id": row.pk, "who": Config.tenant}


def of_an_object(row: Trick) -> Row:
    return {"id": row.pk, "who": HOLDER.asked()}


def of_slots(row: Trick) -> Row:
    return {"id": row.pk, "who": ODD.who}


def of_a_variable(row: Trick) -> Row:
    return {"id": row.pk, "who": VARIABLE.get()}


def of_a_thread(row: Trick) -> Row:
    return {"id": row.pk, "who": getattr(LOCAL, "who", "nobody")}


def of_a_task(row: Trick) -> Row:
    return {"id": row.pk, "who": getattr(OF_ASGI, "who", "nobody")}


def of_a_lazy_object(row: Trick) -> Row:
    return {"id": row.pk, "who": LAZY.who}


def of_a_module(row: Trick) -> Row:
    return {"id": row.pk, "who": states.current.WHO}


def of_an_inner_module(row: Trick) -> Row:
    return {"id": row.pk, "who": states.inner.current.WHO}


def of_an_import(row: Trick) -> Row:
    from states import current

    return {"id": row.pk, "who": current.WHO}


def of_a_name_imported(row: Trick) -> Row:
    from states.current import WHO as known  # noqa: N811

    return {"id": row.pk, "who": known}


def of_an_import_renamed(row: Trick) -> Row:
    import states.inner.current as there

    return {"id": row.pk, "who": "".join(there.WHO for _ in range(1))}


def of_a_module_as_a_whole(row: Trick) -> Row:
    there = states.current
    return {"id": row.pk, "who": there.WHO}


def of_another_folder(row: Trick) -> Row:
    return {"id": row.pk, "who": who()}


def of_a_table_of_functions(row: Trick) -> Row:
    return {"id": row.pk, "who": FORMS["who"]()}


def of_a_function(row: Trick) -> Row:
    return {"id": row.pk, "who": of_a_function.who}  # type: ignore[attr-defined]


of_a_function.who = "nobody"  # type: ignore[attr-defined]


def of_a_dict(row: Trick) -> Row:
    return {"id": row.pk, "who": MIXED["who"]}


def of_a_list(row: Trick) -> Row:
    return {"id": row.pk, "who": LISTED[1]["who"]}


def of_the_environment(row: Trick) -> Row:
    return {"id": row.pk, "who": os.environ.get("CHUNKFLOW_WHO", "nobody")}


def boxed(box: dict[str, str] = {"who": "nobody"}) -> str:  # noqa: B006
    return box["who"]


def of_a_default(row: Trick) -> Row:
    return {"id": row.pk, "who": boxed()}


@functools.lru_cache
def remembered() -> str:
    return elsewhere.WHO


def of_a_later_name(row: Trick) -> Row:
    try:
        return {"id": row.pk, "who": LATER}  # type: ignore[name-defined]
    except NameError:
        return {"id": row.pk, "who": "nobody"}


def of_all_names(row: Trick) -> Row:
    return {"id": row.pk, "who": globals().get("LATER", "nobody")}


def of_a_setting(row: Trick) -> Row:
    return {"id": row.pk, "who": settings.WHO}


def of_a_setting_by_name(row: Trick) -> Row:
    return {"id": row.pk, "who": getattr(settings, "WHO", "nobody")}


def of_the_cache(row: Trick) -> Row:
    return {"id": row.pk, "who": cache.get("who", "nobody")}


def of_an_author(row: Trick) -> Row:
    return {"id": row.pk, "who": row.author.called() if row.author else ""}


def of_a_client_made_late(row: Trick) -> Row:
    global CLIENT  # noqa: PLW0603
    if CLIENT is None:
        CLIENT = Odd()
        CLIENT.who = "nobody"
    return {"id": row.pk, "who": CLIENT.who}


def of_harmless_things(row: Trick) -> Row:
    with LOCK:
        LOGGER.debug("a row")
    return {"id": row.pk, "who": WORDS.sub("some", str(row)), "rest": os.path.basename(row.slug)}


class Kind(enum.Enum):
    SMALL = "s"

    @property
    def label(self) -> str:
        return self.value + "!"


class Pair(NamedTuple):
    one: int
    two: int = 2


@dataclasses.dataclass(frozen=True)
class Size:
    width: int
    parts: list[int] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def doubled(self) -> int:
        return self.width * 2


FOLDER = pathlib.Path("media")
NOTHING = object()
ZONE = zoneinfo.ZoneInfo("Europe/Berlin")
SIZE = Size(3)


def of_usual_things(row: Trick) -> Row:
    return {
        "id": row.pk,
        "status": row.get_status_display(),
        "draft": Trick.Status.DRAFT.label,
        "kind": Kind.SMALL.label,
        "pair": Pair(1).two,
        "size": SIZE.doubled + Size(2).doubled,
        "path": str(FOLDER / row.slug),
        "file": default_storage.url(row.slug),
        "created": row.created.astimezone(ZONE),
        "absent": row.body is NOTHING,
        "title": format_html("<b>{}</b>", row.title),
        "yes": gettext_lazy("Yes"),
        "chosen": random.choice([1]),
        "comments": [comment.text for comment in row.comments.all()],
        "number": row.comments.count(),
        "sum": Decimal(1) + (row.price or 0),
    }


def of_all_that_a_model_has(row: Trick) -> Row:
    return {"id": row.pk, "url": row.get_absolute_url(), "who": row.author and row.author.name}
