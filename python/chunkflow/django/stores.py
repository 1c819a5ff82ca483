"""Where chunks are kept, from `settings.CACHES`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from django.core.exceptions import ImproperlyConfigured

MEMORY = "memory:"
NOWHERE = ""
"""Chunks are not kept at all: what Django's DummyCache asks for."""


def store_of(caches: Mapping[str, Mapping[str, Any]], alias: str) -> tuple[str, str]:
    """The URL of the store that a cache of `settings.CACHES` stands for, and its prefix."""
    cache = caches.get(alias)
    if cache is None:
        if alias == "default":
            return MEMORY, ""
        raise ImproperlyConfigured(f"CHUNKFLOW['CACHE'] is `{alias}`, which is not in CACHES")

    backend = str(cache.get("BACKEND", ""))
    prefix = str(cache.get("KEY_PREFIX") or "")
    make = _KINDS.get(backend.rpartition(".")[2])
    if make is None:
        raise ImproperlyConfigured(
            f"chunks cannot be kept in {backend or 'a cache without BACKEND'} (CACHES['{alias}']); "
            "set CHUNKFLOW = {'STORE': 'redis://…'}, or 'memcached://…', or 'memory:' where one "
            "process serves"
        )
    return make(alias, cache), prefix


def _servers(cache: Mapping[str, Any], separators: str) -> list[str]:
    location = cache.get("LOCATION", "")
    if not isinstance(location, str):
        return [str(one) for one in location]
    for separator in separators[1:]:
        location = location.replace(separator, separators[0])
    return [one.strip() for one in location.split(separators[0]) if one.strip()]


def _options(cache: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).upper(): value for name, value in (cache.get("OPTIONS") or {}).items()}


def _redis(alias: str, cache: Mapping[str, Any]) -> str:
    """The first server: the others of Django's RedisCache are replicas, which only read."""
    options = _options(cache)
    client = str(options.get("CLIENT_CLASS", ""))
    if client.endswith("ShardClient"):
        raise ImproperlyConfigured(
            f"CACHES['{alias}'] divides keys among servers by itself; set CHUNKFLOW = {{'STORE': 'redis://…'}} "
            "to one of them, or to a cluster: 'redis+cluster://HOST:PORT,HOST:PORT'"
        )

    servers = _servers(cache, ",;")
    if not servers:
        raise ImproperlyConfigured(f"CACHES['{alias}'] has no LOCATION")
    first = servers[0]
    url = urlsplit(first if "://" in first else f"redis://{first}")
    if options.get("SENTINELS") or client.endswith("SentinelClient"):
        return _sentinel(alias, url, options)

    login = _login(options, url.netloc)
    database = options.get("DB")
    if url.scheme == "unix":
        query = url.query or (f"db={database}" if database is not None else "")
        return f"redis+unix://{url.path}" + (f"?{query}" if query else "")
    if url.scheme not in ("redis", "rediss"):
        raise ImproperlyConfigured(f"CACHES['{alias}'] has a LOCATION that is no redis:// URL")

    options_of_url = dict(part.partition("=")[::2] for part in url.query.split("&") if part)
    path = (
        url.path.strip("/")
        or options_of_url.get("db", "")
        or ("" if database is None else str(database))
    )
    scheme = "redis+cluster" if "cluster" in client.lower() else url.scheme
    return urlunsplit((scheme, login, f"/{path}" if path else "", "", ""))


def _sentinel(alias: str, url: Any, options: Mapping[str, Any]) -> str:
    sentinels: Sequence[tuple[str, int]] = options.get("SENTINELS") or ()
    if not sentinels:
        raise ImproperlyConfigured(
            f"CACHES['{alias}'] has a SentinelClient, and no SENTINELS in OPTIONS"
        )
    hosts = ",".join(f"{host}:{port}" for host, port in sentinels)
    login = _login(options, url.netloc).rpartition("@")[0]
    path = url.path.strip("/")
    tls = "rediss" if url.scheme == "rediss" else "redis"
    at = f"{login}@" if login else ""
    return f"{tls}+sentinel://{at}{hosts}/{url.hostname}" + (f"/{path}" if path else "")


def _login(options: Mapping[str, Any], place: str) -> str:
    """A host with the user and password, which django-redis takes from the options."""
    password = options.get("PASSWORD")
    if password is None or "@" in place:
        return place
    user = options.get("USERNAME") or ""
    return f"{quote(str(user), safe='')}:{quote(str(password), safe='')}@{place}"


def _memcached(alias: str, cache: Mapping[str, Any]) -> str:
    servers = _servers(cache, ";,")
    if not servers:
        raise ImproperlyConfigured(f"CACHES['{alias}'] has no LOCATION")
    for server in servers:
        if server.startswith(("unix:", "/")):
            raise ImproperlyConfigured(
                f"CACHES['{alias}'] is a Memcached behind a Unix socket, which chunks cannot be kept in; "
                "have it listen on 127.0.0.1 too, and set CHUNKFLOW = {'STORE': 'memcached://…'}"
            )
    return "memcached://" + ",".join(one if _has_port(one) else f"{one}:11211" for one in servers)


def _has_port(server: str) -> bool:
    return server.rpartition(":")[2].isdigit() and not server.endswith("]")


def _local(alias: str, cache: Mapping[str, Any]) -> str:
    return MEMORY


def _nowhere(alias: str, cache: Mapping[str, Any]) -> str:
    return NOWHERE


_KINDS = {
    "RedisCache": _redis,
    "PyMemcacheCache": _memcached,
    "PyLibMCCache": _memcached,
    "LocMemCache": _local,
    "DummyCache": _nowhere,
}
