"""The key of a list: two requests with one key have the same rows."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connections, models
from django.db.models import Count, F, Max, Prefetch, Q, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Lower, Upper
from django.http import HttpRequest
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.urls import set_script_prefix, set_urlconf
from django.utils import timezone, translation
from hypothesis import HealthCheck, example, given, settings, strategies
from made import tricks
from serializers import TrickSerializer, in_words, serialize, with_links
from tricks.models import Category, Comment, Organisation, Trick

from chunkflow.django import conf, stream, stream_sync
from chunkflow.django.canonical import UnseenError, canonical
from chunkflow.django.plan import Plan
from chunkflow.django.saying import _said
from chunkflow.django.visible import BySessionError

pytestmark = pytest.mark.django_db(databases=["default", "other"])


@pytest.fixture(autouse=True)
def _new_flow() -> Iterator[None]:
    conf.forget()
    _said.clear()
    yield
    conf.forget()


def short(trick: Trick) -> dict[str, Any]:
    return {"id": trick.pk, "title": trick.title}


def shown(trick: Trick) -> dict[str, Any]:
    """All that a queryset may bring with a row."""
    loaded = {name: str(value) for name, value in vars(trick).items() if name[0] != "_"}
    cache = getattr(trick, "_prefetched_objects_cache", {})
    return {
        **loaded,
        "prefetched": {name: [str(vars(one)) for one in rows] for name, rows in cache.items()},
        "author": trick.author.name if trick.author else None,
    }


def plan(
    queryset: Any, write: Any = shown, request: HttpRequest | None = None, **more: Any
) -> Plan:
    made = Plan(
        request or RequestFactory().get("/"),
        queryset,
        write,
        more.get("order"),
        300,
        3600,
        ("json",),
        "results",
        (),
        more.get("fields"),
        more.get("session"),
        None,
    )
    made.make()
    return made


def version(queryset: Any, write: Any = shown, key: Any = None, **more: Any) -> bytes:
    return plan(queryset, write, **more).version([key, None], is_told=True)


def rows(made: Plan) -> list[Any]:
    fetch: Any = SimpleNamespace(after=None, limit=500, conditions=())
    found = [json.loads(row[1]) for row in made.rows(fetch)]
    return [
        {name: one for name, one in row.items() if "object at" not in str(one)} for row in found
    ]


QUERYSETS: list[Any] = [
    lambda all_, one, two: all_,
    lambda all_, one, two: all_.filter(organisation=one),
    lambda all_, one, two: all_.filter(organisation=two),
    lambda all_, one, two: all_.filter(organisation__in=[one, two]),
    lambda all_, one, two: all_.filter(organisation_id=one.pk, title="one"),
    lambda all_, one, two: all_.filter(organisation_id=two.pk, title="one"),
    lambda all_, one, two: all_.filter(
        created__gt=datetime.datetime(2026, 1, 1, 8, 40, tzinfo=UTC)
    ),
    lambda all_, one, two: all_.filter(
        created__gt=datetime.datetime(2026, 1, 1, 8, 41, tzinfo=UTC)
    ),
    lambda all_, one, two: all_.filter(price=Decimal("1.00")),
    lambda all_, one, two: all_.filter(price=Decimal("0.10")),
    lambda all_, one, two: all_.filter(Q(title="one") | Q(rating__gt=0)),
    lambda all_, one, two: all_.filter(Q(title="one") & Q(rating__gt=0)),
    lambda all_, one, two: all_.exclude(title="one"),
    lambda all_, one, two: all_.none(),
    lambda all_, one, two: all_.order_by("title"),
    lambda all_, one, two: all_.order_by("-title"),
    lambda all_, one, two: all_.order_by("title").reverse(),
    lambda all_, one, two: all_.order_by(F("edited").asc(nulls_first=True)),
    lambda all_, one, two: all_.order_by(F("edited").asc(nulls_last=True)),
    lambda all_, one, two: all_.only("title"),
    lambda all_, one, two: all_.defer("title"),
    lambda all_, one, two: all_.annotate(extra=Value("a")),
    lambda all_, one, two: all_.annotate(extra=Value("b")),
    lambda all_, one, two: all_.annotate(other=Value("a")),
    lambda all_, one, two: all_.annotate(extra=Upper("title")),
    lambda all_, one, two: all_.annotate(extra=Lower("title")),
    lambda all_, one, two: all_.annotate(extra=Count("comments")),
    lambda all_, one, two: all_.annotate(extra=Max("comments__id")),
    lambda all_, one, two: all_.alias(extra=Count("comments")).filter(extra__gt=1),
    lambda all_, one, two: all_.select_related("author"),
    lambda all_, one, two: all_.prefetch_related("comments"),
    lambda all_, one, two: all_.prefetch_related("categories"),
    lambda all_, one, two: all_.prefetch_related("comments", "categories"),
    lambda all_, one, two: all_.prefetch_related(
        Prefetch("comments", Comment.objects.filter(text="comment 0"))
    ),
    lambda all_, one, two: all_.prefetch_related(
        Prefetch("comments", Comment.objects.filter(text="comment 1"))
    ),
    lambda all_, one, two: all_.prefetch_related(
        Prefetch("comments", Comment.objects.order_by("-text"))
    ),
    lambda all_, one, two: all_.prefetch_related(
        Prefetch("categories", Category.objects.annotate(number=Count("tricks")))
    ),
    lambda all_, one, two: all_.prefetch_related(
        Prefetch(
            "categories",
            Category.objects.prefetch_related(
                Prefetch("tricks", Trick.objects.filter(organisation=one))
            ),
        )
    ),
    lambda all_, one, two: all_.prefetch_related(
        Prefetch(
            "categories",
            Category.objects.prefetch_related(
                Prefetch("tricks", Trick.objects.filter(organisation=two))
            ),
        )
    ),
    lambda all_, one, two: all_.values("id", "title"),
    lambda all_, one, two: all_.values("title", "id"),
    lambda all_, one, two: all_.values("title"),
    lambda all_, one, two: all_.values("title").distinct(),
    lambda all_, one, two: all_.values("title").annotate(number=Count("id")),
    lambda all_, one, two: all_.values(name=F("title")),
    lambda all_, one, two: all_.values(other=F("title")),
]
UTC = datetime.timezone.utc
WRITERS: list[Any] = [shown, short, in_words, with_links, serialize, TrickSerializer]
LANGUAGES = ["en", "de", "fr"]
ZONES = ["UTC", "Asia/Tokyo", "America/New_York"]
HOSTS = ["one.example", "two.example"]

REQUESTS = strategies.tuples(
    strategies.integers(0, len(QUERYSETS) - 1),
    strategies.integers(0, len(WRITERS) - 1),
    strategies.sampled_from(LANGUAGES),
    strategies.sampled_from(ZONES),
    strategies.sampled_from(HOSTS),
    strategies.sampled_from(["default", "other"]),
)


@pytest.fixture
def organisations() -> list[Organisation]:
    tricks(8, "other", seed=3)
    return [tricks(12, seed=1), tricks(12, seed=2)]


def answer(request: Any, organisations: list[Organisation]) -> tuple[bytes, Any]:
    number, writes, language, zone, host, using = request
    queryset = QUERYSETS[number](Trick.objects.using(using), *organisations)
    write = None if queryset._fields is not None else WRITERS[writes]
    with translation.override(language), timezone.override(ZoneInfo(zone)):
        made = plan(queryset, write, RequestFactory(headers={"host": host}).get("/"))
        return made.version([None, None], is_told=False), rows(made)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(strategies.lists(REQUESTS, min_size=2, max_size=12))
def test_requests_with_one_key_have_the_same_rows(organisations: Any, requests: Any) -> None:
    known: dict[bytes, Any] = {}
    for request in requests:
        key, found = answer(request, organisations)
        assert known.setdefault(key, found) == found
    for request in requests:
        # And it is the same key each time, else nothing would ever be served from the cache.
        key, found = answer(request, organisations)
        assert known[key] == found


def test_each_queryset_has_a_key_of_its_own(organisations: list[Organisation]) -> None:
    keys = [
        answer((number, 0, "en", "UTC", "one.example", "default"), organisations)[0]
        for number in range(len(QUERYSETS))
    ]
    same = [pair for pair in enumerate(keys) if keys.index(pair[1]) != pair[0]]
    # `order_by("title").reverse()` is `order_by("-title")`, said in another way.
    assert [number for number, _ in same] == [16]


def test_each_part_of_a_request_is_in_the_key() -> None:
    queryset = Trick.objects.all()
    usual = version(queryset, in_words)
    assert version(queryset, in_words) == usual
    different = [usual, version(queryset, short), version(queryset, in_words, key="user 7")]
    different.append(version(queryset, in_words, key="user 8"))
    different.append(version(queryset, in_words, order="title"))
    different.append(version(queryset, in_words, fields=["id"]))
    different.append(version(queryset, in_words, session={"a.b": "1"}))
    different.append(version(queryset, in_words, session={"a.b": "2"}))
    different.append(version(queryset.using("other"), in_words))
    for language in ("de", "fr", None):
        with translation.override(language):
            different.append(version(queryset, in_words))
    for zone in (ZoneInfo("Asia/Tokyo"), datetime.timezone(datetime.timedelta(hours=1))):
        with timezone.override(zone):
            different.append(version(queryset, in_words))
    for setting in ({"MEDIA_URL": "/m/"}, {"USE_THOUSAND_SEPARATOR": True}, {"USE_TZ": False}):
        with override_settings(**setting):
            different.append(version(queryset, in_words))
    set_urlconf("urls")
    different.append(version(queryset, in_words))
    set_urlconf(None)
    set_script_prefix("/below/")
    different.append(version(queryset, in_words))
    set_script_prefix("/")
    assert len(set(different)) == len(different)
    assert version(queryset, in_words) == usual


def test_each_database_that_is_read_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {
        "default": Trick.objects.all(),
        "other": Trick.objects.prefetch_related(
            Prefetch("comments", Comment.objects.using("other"))
        ),
    }
    for using, queryset in lists.items():
        usual = version(queryset)
        with monkeypatch.context() as patch:
            patch.setitem(connections[using].settings_dict, "NAME", "of another deployment")
            assert version(queryset) != usual
        assert version(queryset) == usual


def test_a_session_says_what_its_own_database_shows_and_no_other() -> None:
    decided = Comment.objects.annotate(x=RawSQL("(SELECT 1 AS current_user)", ()))
    told = {"app.tenant": "1"}
    for using in ("postgres", "default"):
        shown = Prefetch("comments", decided.using(using))
        made = plan(Trick.objects.using("postgres").prefetch_related(shown), session=told)
        if using == "postgres":
            assert made.version([None, None], is_told=False)
            continue
        with pytest.raises(BySessionError):
            made.version([None, None], is_told=False)


def test_the_host_is_in_the_key_of_those_that_write_links_only() -> None:
    requests = [RequestFactory(headers={"host": host}).get("/") for host in HOSTS]
    queryset = Trick.objects.all()
    assert len({version(queryset, short, request=one) for one in requests}) == 1
    assert len({version(queryset, with_links, request=one) for one in requests}) == 2


def test_the_parameters_of_a_request_are_not_in_the_key_unless_they_are_in_the_query() -> None:
    queryset = Trick.objects.all()
    requests = [RequestFactory().get("/?q=1"), RequestFactory().get("/other?q=2")]
    assert len({version(queryset, short, request=one) for one in requests}) == 1


VALUES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text()
    | strategies.binary()
    | strategies.decimals()
    | strategies.dates()
    | strategies.datetimes()
    | strategies.timedeltas()
    | strategies.uuids()
    | strategies.times(),
    lambda inner: (
        strategies.lists(inner)
        | strategies.lists(inner).map(tuple)
        | strategies.dictionaries(strategies.text(), inner)
        | strategies.frozensets(strategies.integers())
    ),
)


@given(VALUES, VALUES)
@example(1, True)
@example(1, 1.0)
@example("1", 1)
@example(b"a", "a")
@example([1], (1,))
@example([["a"], "b"], [["a", "b"]])
@example(0.0, -0.0)
@example(Decimal("1.0"), Decimal("1.00"))
@example("", None)
def test_different_values_have_different_bytes(one: Any, two: Any) -> None:
    if canonical(one) == canonical(two):
        assert type(one) is type(two)
        assert repr(one) == repr(two) or one == two
    else:
        assert repr(one) != repr(two) or one != two


def test_a_value_that_nobody_knows_has_no_bytes() -> None:
    with pytest.raises(UnseenError, match="object"):
        canonical([1, object()])


class Odd(datetime.tzinfo):
    def utcoffset(self, _: Any) -> datetime.timedelta:
        return datetime.timedelta(0)


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_seen_is_not_cached_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    organisation = tricks(60)
    queryset = Trick.objects.filter(organisation=organisation)
    with timezone.override(Odd()):
        for title in ("first", "second"):
            queryset.update(title=title)
            response = stream_sync(RequestFactory().get("/"), queryset, short)
            found = json.loads(b"".join(response))["results"]  # type: ignore[arg-type]
            assert {row["title"] for row in found} == {title}
    assert caplog.text.count("is not cached: the time zone") == 1


@pytest.mark.django_db(transaction=True)
def test_the_dummy_cache_caches_nothing() -> None:
    organisation = tricks(3)
    queryset = Trick.objects.filter(organisation=organisation)
    caches = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    with override_settings(CACHES=caches):
        for title in ("first", "second"):
            queryset.update(title=title)
            response = stream_sync(RequestFactory().get("/"), queryset, short)
            found = json.loads(b"".join(response))["results"]  # type: ignore[arg-type]
            assert {row["title"] for row in found} == {title}


def user_of(request: HttpRequest) -> Any:
    return request.headers["x-user"]


async def later(request: HttpRequest) -> Any:
    return request.headers["x-user"]


@pytest.mark.django_db(transaction=True)
async def test_what_the_setting_says_of_a_request_is_in_the_key() -> None:
    """Rows that differ by it are never shared, though nothing else tells the requests apart."""
    seen = []
    for name in ("test_key.user_of", later):
        with override_settings(CHUNKFLOW={"CACHE_IN_TESTS": True, "KEY": name}):
            for user in ("ada", "grace", "ada"):
                request = AsyncRequestFactory().get("/", headers={"x-user": user})
                response = await stream(request, Trick.objects.all(), short)
                seen.append((user, response.headers["Cache-Status"]))
    for of_one in (seen[:3], seen[3:]):
        assert [("hit" in status) for _, status in of_one] == [False, False, True], of_one


@pytest.mark.django_db(transaction=True)
def test_a_query_that_holds_the_time_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    now = timezone.now()
    for at in range(30):
        moment = now + datetime.timedelta(seconds=at)
        stream_sync(RequestFactory().get("/"), Trick.objects.filter(created__lte=moment), short)
        fixed = Trick.objects.filter(created__gte=now, organisation_id=at)
        stream_sync(RequestFactory().get("/"), fixed, short)
    assert caplog.text.count("has a new key at each request") == 1
    assert "Now()" in caplog.text


def test_a_queryset_of_prefetches_that_nobody_knows_is_not_cached() -> None:
    class Own(Prefetch):  # type: ignore[type-arg]
        pass

    made = plan(Trick.objects.prefetch_related(Own("comments")))
    with pytest.raises(UnseenError, match="Own"):
        made.version([None, None], is_told=False)
    assert made.version([None, None], is_told=True)
    assert isinstance(made.given, models.QuerySet)


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_key_that_cannot_be_told_from_others_is_an_error_with_the_remedy() -> None:
    request = RequestFactory().get("/")
    for key in (object(), Organisation(name="one"), {"user": [object()]}):
        with pytest.raises(TypeError, match=r"`key` cannot be told .* `key=\(request.user.pk"):
            stream_sync(request, Trick.objects.all(), short, key=key)
        with override_settings(
            CHUNKFLOW={"CACHE_IN_TESTS": True, "KEY": lambda request, key=key: key}
        ):
            conf.forget()
            with pytest.raises(TypeError, match="KEY"):
                stream_sync(request, Trick.objects.all(), short)
        conf.forget()


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
async def test_so_it_is_in_a_view_that_is_async() -> None:
    request = AsyncRequestFactory().get("/")
    with pytest.raises(TypeError, match="`key` cannot be told"):
        await stream(request, Trick.objects.all(), short, key=object())
