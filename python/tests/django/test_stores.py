"""Which store `settings.CACHES` stands for."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from chunkflow.django import conf
from chunkflow.django.stores import store_of

REDIS = "django.core.cache.backends.redis.RedisCache"
DJANGO_REDIS = "django_redis.cache.RedisCache"
PYMEMCACHE = "django.core.cache.backends.memcached.PyMemcacheCache"
PYLIBMC = "django.core.cache.backends.memcached.PyLibMCCache"

STORES: list[tuple[dict[str, Any], str]] = [
    ({"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}, "memory:"),
    ({"BACKEND": "django.core.cache.backends.dummy.DummyCache"}, ""),
    ({"BACKEND": REDIS, "LOCATION": "redis://h:1"}, "redis://h:1"),
    ({"BACKEND": REDIS, "LOCATION": "h:1"}, "redis://h:1"),
    ({"BACKEND": REDIS, "LOCATION": "redis://u:p@h:1/3"}, "redis://u:p@h:1/3"),
    ({"BACKEND": REDIS, "LOCATION": "redis://h:1?db=3"}, "redis://h:1/3"),
    ({"BACKEND": REDIS, "LOCATION": "redis://h:1", "OPTIONS": {"db": 2}}, "redis://h:1/2"),
    (
        {
            "BACKEND": REDIS,
            "LOCATION": "redis://h",
            "OPTIONS": {"username": "u", "password": "p/@"},
        },
        "redis://u:p%2F%40@h",
    ),
    ({"BACKEND": REDIS, "LOCATION": ["rediss://a:1", "rediss://b:1"]}, "rediss://a:1"),
    ({"BACKEND": REDIS, "LOCATION": "redis://a:1,redis://b:1"}, "redis://a:1"),
    (
        {"BACKEND": REDIS, "LOCATION": "unix:///run/redis.sock?db=1"},
        "redis+unix:///run/redis.sock?db=1",
    ),
    (
        {"BACKEND": DJANGO_REDIS, "LOCATION": "redis://h/1", "OPTIONS": {"PASSWORD": "p"}},
        "redis://:p@h/1",
    ),
    (
        {
            "BACKEND": DJANGO_REDIS,
            "LOCATION": "redis://main/0",
            "OPTIONS": {
                "CLIENT_CLASS": "django_redis.client.SentinelClient",
                "SENTINELS": [("a", 1), ("b", 2)],
                "PASSWORD": "p",
            },
        },
        "redis+sentinel://:p@a:1,b:2/main/0",
    ),
    ({"BACKEND": PYMEMCACHE, "LOCATION": "127.0.0.1:11211"}, "memcached://127.0.0.1:11211"),
    ({"BACKEND": PYMEMCACHE, "LOCATION": ["a:1", "b:2"]}, "memcached://a:1,b:2"),
    ({"BACKEND": PYLIBMC, "LOCATION": "a:1;b"}, "memcached://a:1,b:11211"),
]


@pytest.mark.parametrize(("cache", "url"), STORES, ids=[url for _, url in STORES])
def test_the_server_of_a_cache_keeps_the_chunks(cache: dict[str, Any], url: str) -> None:
    assert store_of({"default": cache}, "default")[0] == url


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        ({"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "t"}, "STORE"),
        ({"BACKEND": "django.core.cache.backends.filebased.FileBasedCache"}, "STORE"),
        ({"BACKEND": "mine.Cache"}, "STORE"),
        ({"BACKEND": PYMEMCACHE, "LOCATION": "unix:/tmp/m.sock"}, "127.0.0.1"),
        ({"BACKEND": REDIS, "LOCATION": ""}, "LOCATION"),
        (
            {
                "BACKEND": DJANGO_REDIS,
                "LOCATION": ["redis://a", "redis://b"],
                "OPTIONS": {"CLIENT_CLASS": "django_redis.client.ShardClient"},
            },
            "cluster",
        ),
    ],
)
def test_a_cache_that_cannot_keep_chunks_is_refused_with_the_remedy(
    cache: dict[str, Any], said: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as error:
        store_of({"default": cache}, "default")
    assert said in str(error.value)


def test_the_settings_win_over_the_caches() -> None:
    caches = {"default": {"BACKEND": PYMEMCACHE, "LOCATION": "a:1", "KEY_PREFIX": "mine"}}
    with override_settings(CACHES=caches, CHUNKFLOW={}):
        assert conf.conf().store == "memcached://a:1"
        assert conf.conf().prefix == "mine:chunkflow:"
    with override_settings(CACHES=caches, CHUNKFLOW={"STORE": "memory:", "PREFIX": "own:"}):
        assert conf.conf().store == "memory:"
        assert conf.conf().prefix == "own:"
    two = {**caches, "chunks": {"BACKEND": REDIS, "LOCATION": "redis://h"}}
    with override_settings(CACHES=two, CHUNKFLOW={"CACHE": "chunks"}):
        assert conf.conf().store == "redis://h"


def test_an_unknown_setting_is_refused_with_the_one_that_is_meant() -> None:
    with (
        override_settings(CHUNKFLOW={"STOER": "memory:"}),
        pytest.raises(ImproperlyConfigured, match="did you mean `STORE`"),
    ):
        conf.conf()


def test_a_cache_that_is_not_there_is_refused() -> None:
    with (
        override_settings(CHUNKFLOW={"CACHE": "nowhere"}),
        pytest.raises(ImproperlyConfigured, match="nowhere"),
    ):
        conf.conf()
