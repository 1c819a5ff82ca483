"""`settings.CHUNKFLOW`, and the flows that are made of it: one for each process.

`STORE` is a URL as in `chunkflow.toml`; without it `CACHE` names the entry of `settings.CACHES`
whose server keeps the chunks. `KEY` is a function of the request, or its dotted name: what it
returns is in the key of every list.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from chunkflow._native import Flow

from .stores import store_of

ASIDE = 8 << 20
"""Bytes that lists which are not cached may take in all, on their way to their clients."""


@dataclass(frozen=True)
class Conf:
    """The settings, checked."""

    store: str
    """Empty: nothing is cached."""
    memory: int
    prefix: str
    secret: str | tuple[str, ...] | None
    pool: int
    timeout: float
    key: Callable[[Any], Any] | None
    cache_in_tests: bool


_NAMES: dict[str, Any] = {
    "STORE": None,
    "CACHE": "default",
    "MEMORY": 64 << 20,
    "PREFIX": None,
    "SECRET": None,
    "POOL": 2,
    "TIMEOUT": 10.0,
    "KEY": None,
    "CACHE_IN_TESTS": False,
}


@cache
def conf() -> Conf:
    """The settings of this process."""
    given = getattr(settings, "CHUNKFLOW", None) or {}
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured("CHUNKFLOW is a dict: CHUNKFLOW = {'STORE': 'redis://…'}")
    for name in given:
        if name not in _NAMES:
            near = difflib.get_close_matches(str(name), _NAMES, n=1)
            remedy = f"did you mean `{near[0]}`?" if near else "it has " + ", ".join(_NAMES)
            raise ImproperlyConfigured(f"CHUNKFLOW has no `{name}`; {remedy}")

    values = {**_NAMES, **given}
    store, prefix = values["STORE"], ""
    if store is None:
        store, prefix = store_of(settings.CACHES, values["CACHE"])
    if values["PREFIX"] is not None:
        prefix = values["PREFIX"]
    elif prefix:
        prefix = f"{prefix}:chunkflow:"

    key = values["KEY"]
    key = import_string(key) if isinstance(key, str) else key
    if key is not None and not callable(key):
        raise ImproperlyConfigured(
            "CHUNKFLOW['KEY'] is a function of the request, or its dotted name"
        )
    secret = values["SECRET"]
    return Conf(
        store=store,
        memory=values["MEMORY"],
        prefix=prefix or "chunkflow:",
        secret=secret if secret is None or isinstance(secret, str) else tuple(secret),
        pool=values["POOL"],
        timeout=values["TIMEOUT"],
        key=key,
        cache_in_tests=bool(values["CACHE_IN_TESTS"]),
    )


_lock = threading.Lock()
_flows: dict[str, Flow] = {}


def flow() -> Flow:
    """The flow whose chunks are cached."""
    return _flows.get("cached") or _made("cached")


def aside() -> Flow:
    """The flow of lists that are not cached: what it holds is under a key that nobody asks for."""
    return _flows.get("aside") or _made("aside")


def _made(which: str) -> Flow:
    with _lock:
        if which not in _flows:
            here = conf()
            is_aside = which == "aside" or not here.store
            _flows[which] = Flow(
                "memory:" if is_aside else here.store,
                memory=ASIDE if is_aside else here.memory,
                prefix=here.prefix,
                secret=here.secret,
                pool=here.pool,
                timeout=here.timeout,
                databases=list(settings.DATABASES),
            )
        return _flows[which]


def forget(**arguments: Any) -> None:
    """Makes all anew at the next request, after a setting has changed (in tests)."""
    if arguments.get("setting") in (None, "CHUNKFLOW", "CACHES", "DATABASES"):
        conf.cache_clear()
        with _lock:
            old = list(_flows.values())
            _flows.clear()
        for one in old:
            one.close()


setting_changed.connect(forget, dispatch_uid="chunkflow.django.conf")
