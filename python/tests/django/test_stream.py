"""Lists as clients get them. The usual view is the oracle."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.handlers.base import BaseHandler
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, connections, models, transaction
from django.db.models import Count, Exists, OuterRef, Prefetch
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory, TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from made import tricks
from serializers import TrickSerializer, broken, in_words, serialize, with_links
from tricks.models import (
    Author,
    Category,
    Comment,
    Folder,
    Organisation,
    Priced,
    Tenant,
    Tenanted,
    Trick,
    Weighed,
)

from chunkflow import Change, Cut
from chunkflow.django import changed, conf, stream, stream_sync
from chunkflow.django.canonical import UnseenError
from chunkflow.django.plan import Plan
from chunkflow.django.saying import MOST_SAID, _said, say_uncached

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

SIZES = (0, 1, 49, 50, 51, 350)
GET = RequestFactory().get


@pytest.fixture(autouse=True)
def _new_flow() -> Iterator[None]:
    conf.forget()
    yield
    conf.forget()


def body(response: HttpResponseBase) -> bytes:
    """The whole body, under WSGI."""
    if isinstance(response, StreamingHttpResponse):
        return b"".join(response.streaming_content)
    assert isinstance(response, HttpResponse)
    return response.content


async def abody(response: HttpResponseBase) -> bytes:
    """The whole body, under ASGI."""
    if isinstance(response, StreamingHttpResponse):
        return b"".join([part async for part in response.streaming_content])
    assert isinstance(response, HttpResponse)
    return response.content


def rows(response: HttpResponseBase) -> Any:
    found = body(response)
    assert response.status_code == 200, found
    return json.loads(found)["results"]


def usual(queryset: Any, write: Callable[[Any], Any] = lambda row: row) -> Any:
    """The rows of the usual view."""
    text = json.dumps({"results": [write(row) for row in queryset]}, cls=DjangoJSONEncoder)
    return json.loads(text)["results"]


def of(organisation: Organisation, using: str = "default") -> models.QuerySet[Trick]:
    return (
        Trick.objects.using(using)
        .filter(organisation=organisation)
        .select_related("author")
        .prefetch_related("categories", "comments")
        .order_by("-created", "-id")
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_list_is_that_of_the_usual_view_cold_and_warm(size: int) -> None:
    queryset = of(tricks(size))
    expected = usual(queryset, serialize)
    assert len(expected) == size
    for _ in range(3):
        assert rows(stream_sync(GET("/"), queryset, serialize)) == expected


@pytest.mark.parametrize("size", SIZES)
async def test_the_list_is_that_of_the_usual_view_under_asgi(size: int) -> None:
    organisation = await asyncio.to_thread(_in_thread, tricks, size)
    queryset = of(organisation)
    expected = await asyncio.to_thread(_in_thread, lambda: usual(of(organisation), serialize))
    for _ in range(3):
        response = await stream(AsyncRequestFactory().get("/"), queryset, serialize)
        assert json.loads(await abody(response))["results"] == expected


def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    finally:
        connections.close_all()


def test_a_repeat_asks_the_database_nothing(caplog: pytest.LogCaptureFixture) -> None:
    queryset = of(tricks(350))
    calls = []
    rows_in_pool = Plan.rows_in_pool

    def counted(plan: Plan, fetch: Any) -> Any:
        calls.append(threading.current_thread())
        return rows_in_pool(plan, fetch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "rows_in_pool", counted)
        first = rows(stream_sync(GET("/"), queryset, serialize))
        assert calls
        assert threading.current_thread() not in calls
        calls.clear()
        with CaptureQueriesContext(connection) as queries:
            assert rows(stream_sync(GET("/"), queryset, serialize)) == first
        assert not calls
        assert len(queries) == 0


def test_prefetches_cost_one_query_for_each_run() -> None:
    queryset = of(tricks(60))
    queries: list[str] = []

    def note(execute: Any, sql: str, *arguments: Any) -> Any:
        queries.append(sql)
        return execute(sql, *arguments)

    rows_in_pool = Plan.rows

    def noted(plan: Plan, fetch: Any) -> Any:
        with connection.execute_wrapper(note):
            yield from rows_in_pool(plan, fetch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "rows", noted)
        rows(stream_sync(GET("/"), queryset, serialize))
    assert len(queries) == 3, queries


def test_a_list_of_known_length_goes_out_with_it() -> None:
    queryset = of(tricks(60))
    rows(stream_sync(GET("/"), queryset, serialize))
    response = stream_sync(GET("/"), queryset, serialize)
    assert isinstance(response, HttpResponse)
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert response.headers["Vary"] == "Accept, Accept-Encoding"
    assert response.headers["Cache-Control"] == "no-store"
    assert "hit" in response.headers["Cache-Status"]


def test_formats_codings_pages_and_problems_are_those_of_the_library() -> None:
    queryset = of(tricks(60))
    expected = usual(queryset, serialize)
    lines = body(
        stream_sync(GET("/", headers={"accept": "application/x-ndjson"}), queryset, serialize)
    )
    assert [json.loads(line) for line in lines.splitlines()] == expected
    lines = body(stream_sync(GET("/"), queryset, serialize, format="ndjson"))
    assert [json.loads(line) for line in lines.splitlines()] == expected
    packed = stream_sync(GET("/", headers={"accept-encoding": "gzip"}), queryset, serialize)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(body(packed)))["results"] == expected

    page = stream_sync(GET("/?limit=7"), queryset, serialize)
    link = page.headers["Link"]
    assert rows(page) == expected[:7]
    after = link.partition("<")[2].partition(">")[0]
    assert rows(stream_sync(GET("/" + after), queryset, serialize)) == expected[7:14]

    wrong = stream_sync(GET("/?nonsense=1"), queryset, serialize)
    assert wrong.status_code == 400
    assert wrong.headers["Content-Type"].startswith("application/problem+json")
    assert b"nonsense" in body(wrong)
    assert stream_sync(RequestFactory().post("/"), queryset, serialize).status_code == 405
    head = stream_sync(RequestFactory().head("/"), queryset, serialize)
    assert (head.status_code, body(head)) == (200, b"")


def test_formats_that_a_view_leaves_out_are_not_given() -> None:
    queryset = of(tricks(3))
    json_only = stream_sync(
        GET("/", headers={"accept": "text/csv"}), queryset, serialize, formats=["json"]
    )
    assert json_only.status_code == 406
    lines = stream_sync(GET("/"), queryset, serialize, formats=["ndjson"])
    assert lines.headers["Content-Type"].startswith("application/x-ndjson")


def test_csv_needs_the_members_and_says_so() -> None:
    queryset = of(tricks(3))
    asks = GET("/", headers={"accept": "text/csv"})
    refused = stream_sync(asks, queryset, serialize)
    text = body(refused)
    assert refused.status_code in (400, 406)
    assert b"fields" in text or b"columns" in text, text
    given = body(stream_sync(asks, queryset, serialize, fields=["id", "title"])).decode()
    table = list(csv.DictReader(io.StringIO(given)))
    assert [row["title"] for row in table] == [trick.title for trick in queryset]
    declared = body(stream_sync(asks, queryset, TrickSerializer)).decode()
    assert declared.splitlines()[0] == "id,title,created,length,price,token,categories,name"
    own = body(stream_sync(asks, queryset.prefetch_related(None).values("id", "title"))).decode()
    assert own.splitlines()[0] == "id,title"


def test_values_need_no_serializer() -> None:
    organisation = tricks(60)
    plain = of(organisation).prefetch_related(None).select_related(None)
    queryset = plain.values("id", "title", "price", "length", "created", "author__name")
    assert rows(stream_sync(GET("/"), queryset)) == usual(queryset)
    counted = (
        Trick.objects.filter(organisation=organisation)
        .values("title")
        .annotate(number=Count("id"))
        .order_by("title")
    )
    assert rows(stream_sync(GET("/"), counted)) == usual(counted)


def test_a_serializer_class_of_rest_framework_gives_what_it_gives() -> None:
    from rest_framework.renderers import JSONRenderer

    queryset = of(tricks(60))
    data = TrickSerializer(queryset, many=True).data
    expected = json.loads(JSONRenderer().render(data))
    for _ in range(2):
        assert rows(stream_sync(GET("/"), queryset, TrickSerializer)) == expected


def test_filters_are_those_of_the_orm() -> None:
    queryset = of(tricks(60))
    names = ["id", "rating", "title", "created", "author__name", "edited", "status"]

    def asked(query: str) -> Any:
        return [
            row["id"]
            for row in rows(stream_sync(GET(f"/?{query}"), queryset, serialize, filters=names))
        ]

    def found(*arguments: Any, **conditions: Any) -> list[int]:
        return [trick.pk for trick in queryset.filter(*arguments, **conditions)]

    middle = queryset[30].pk
    assert asked(f"id=gt.{middle}") == found(id__gt=middle)
    assert asked(f"id=in.({middle},{middle + 1})") == found(id__in=[middle, middle + 1])
    assert asked("title=eq.one") == found(title="one")
    assert asked("rating=neq.1") == found(~models.Q(rating=1), rating__isnull=False)
    assert asked("rating=is.null") == found(rating=None)
    assert asked("edited=not.is.null") == found(edited__isnull=False)
    assert asked("author__name=eq.Ada") == found(author__name="Ada")
    assert asked("title=like.*o*") == found(title__contains="o")
    assert asked("title=not.ilike.T*") == found(~models.Q(title__istartswith="t"))
    assert asked("or=(title.eq.one,rating.gt.0)") == found(
        models.Q(title="one") | models.Q(rating__gt=0)
    )
    moment = queryset[30].created
    text = moment.isoformat().replace("+00:00", "Z")
    assert asked(f"created=lte.{text}") == found(created__lte=moment)
    assert stream_sync(GET("/?body=eq.x"), queryset, serialize, filters=names).status_code == 400


def test_a_value_that_a_filter_cannot_have_is_the_fault_of_the_client() -> None:
    queryset = of(tricks(3))
    for query in ("created=gt.yesterday", "id=eq.x", "token=eq.7"):
        answer = stream_sync(
            GET(f"/?{query}"), queryset, serialize, filters=["created", "id", "token"]
        )
        assert answer.status_code == 400, query


def test_a_filter_that_would_double_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="several values for one row"):
        stream_sync(GET("/"), of(tricks(1)), serialize, filters=["categories__slug"])


def test_parameters_of_the_view_are_its_own() -> None:
    queryset = of(tricks(20))
    request = GET("/?q=tr%C3%AFck&limit=5&q=2&page%20size=1")
    assert request.GET["q"] == "2"
    found = rows(stream_sync(request, queryset, serialize, params={"q", "page size"}))
    assert found == usual(queryset, serialize)[:5]


def test_language_and_time_zone_are_those_of_the_request() -> None:
    queryset = of(tricks(20)).select_related(None).prefetch_related(None)
    seen = []
    for language in ("en", "de", "fr"):
        for zone in ("UTC", "Asia/Tokyo"):
            with translation.override(language), timezone.override(zone):
                expected = usual(queryset, in_words)
                for _ in range(2):
                    assert rows(stream_sync(GET("/"), queryset, in_words)) == expected
            seen.append(json.dumps(expected))
    assert len(set(seen)) == 6


def test_links_begin_with_the_host_of_the_request() -> None:
    queryset = of(tricks(3)).select_related(None).prefetch_related(None)
    for host in ("one.example", "two.example", "one.example"):
        for is_secure in (False, True):
            request = RequestFactory(headers={"host": host}).get("/", secure=is_secure)
            expected = [request.build_absolute_uri(trick.get_absolute_url()) for trick in queryset]
            found = rows(stream_sync(request, queryset, with_links))
            assert [row["url"] for row in found] == expected
            assert [row["reversed"] for row in found] == expected


def test_another_database_is_another_list() -> None:
    for using in ("default", "other"):
        tricks(5, using, seed=3 if using == "default" else 4)
    for using in ("default", "other", "default"):
        queryset = Trick.objects.using(using).values("id", "slug").order_by("id")
        assert rows(stream_sync(GET("/"), queryset)) == usual(queryset)


def test_each_organisation_gets_its_own_rows() -> None:
    both = [tricks(60, seed=1), tricks(60, seed=2)]
    for organisation in (*both, *both):
        queryset = of(organisation)
        assert rows(stream_sync(GET("/"), queryset, serialize)) == usual(queryset, serialize)


def test_an_exception_before_the_first_byte_is_a_problem_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    organisation = tricks(130)
    queryset = Trick.objects.filter(organisation=organisation, slug__endswith="-120")
    response = stream_sync(GET("/"), queryset, broken)
    assert response.status_code == 500
    assert b"this trick is broken" not in body(response)
    assert "this trick is broken" in caplog.text


def test_an_exception_behind_the_first_byte_cuts_the_list() -> None:
    organisation = tricks(700)
    queryset = Trick.objects.filter(organisation=organisation, slug__contains="-").order_by("id")
    Trick.objects.filter(slug="trick-7-120").update(slug="whole")
    Trick.objects.filter(pk=queryset[650].pk).update(slug="now-120")
    response = stream_sync(GET("/"), queryset, broken)
    assert response.status_code == 200
    with pytest.raises(Cut):
        body(response)


# What is not committed


def uncached(queryset: Any, write: Any = serialize) -> Any:
    """The list, with a look at whether this thread read it."""
    with CaptureQueriesContext(connection) as queries:
        found = rows(stream_sync(GET("/"), queryset, write))
    assert len(queries) > 0, "it was not read on this connection"
    return found


def test_rows_of_an_open_transaction_are_read_in_it_and_not_cached(
    caplog: pytest.LogCaptureFixture,
) -> None:
    organisation = tricks(60)
    queryset = of(organisation)
    cached = rows(stream_sync(GET("/"), queryset, serialize))
    _said.clear()
    with transaction.atomic():
        Trick.objects.filter(organisation=organisation).update(title="not committed")
        for _ in range(2):
            found = uncached(queryset)
            assert {row["title"] for row in found} == {"not committed"}
            assert found == usual(queryset, serialize)
        transaction.set_rollback(True)
    assert rows(stream_sync(GET("/"), queryset, serialize)) == cached
    assert caplog.text.count("non_atomic_requests") == 1


def test_rows_of_an_open_transaction_have_the_same_bytes() -> None:
    queryset = of(tricks(350))
    for query, headers in (
        ("", {}),
        ("?limit=7", {}),
        ("", {"accept": "application/x-ndjson"}),
        ("", {"accept-encoding": "gzip"}),
        ("?wrong=1", {}),
    ):
        outside = stream_sync(GET("/" + query, headers=headers), queryset, serialize)
        with transaction.atomic():
            inside = stream_sync(GET("/" + query, headers=headers), queryset, serialize)
        assert body(inside) == body(outside)
        assert inside.status_code == outside.status_code
        same = ("Content-Type", "Vary", "Link", "Content-Encoding")
        assert [inside.headers.get(name) for name in same] == [
            outside.headers.get(name) for name in same
        ]


def test_an_exception_in_an_open_transaction_reaches_the_view() -> None:
    queryset = Trick.objects.filter(organisation=tricks(130))
    with transaction.atomic(), pytest.raises(RuntimeError, match="this trick is broken"):
        stream_sync(GET("/"), queryset, broken)


def test_without_the_tests_setting_tests_see_their_own_rows() -> None:
    organisation = tricks(5)
    queryset = of(organisation)
    with override_settings(CHUNKFLOW={}):
        for title in ("first", "second"):
            Trick.objects.filter(organisation=organisation).update(title=title)
            assert {row["title"] for row in uncached(queryset)} == {title}


class InATestCase(TestCase):
    """A test of Django's own, in a transaction that is rolled back."""

    def test_rows_are_those_of_the_test(self) -> None:
        queryset = of(tricks(3))
        for title in ("first", "second"):
            Trick.objects.update(title=title)
            assert {row["title"] for row in uncached(queryset)} == {title}

    async def test_async_views_see_the_rows_of_the_test(self) -> None:
        organisation = await Organisation.objects.acreate(name="one")
        await Trick.objects.acreate(organisation=organisation, title="seen", created=timezone.now())
        response = await stream(AsyncRequestFactory().get("/"), of(organisation), serialize)
        found = json.loads(await abody(response))["results"]
        assert [row["title"] for row in found] == ["seen"]


def test_atomic_requests_are_not_cached_and_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    queryset = of(tricks(5))
    found = []

    def view(request: HttpRequest) -> HttpResponseBase:
        found.append(uncached(queryset))
        return HttpResponse()

    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    _said.clear()
    atomic = BaseHandler().make_view_atomic(view)
    for _ in range(3):
        atomic(GET("/"))
    assert found[0] == found[2] == usual(queryset, serialize)
    assert caplog.text.count("@transaction.non_atomic_requests") == 1


# What a request cannot show


def test_a_manager_that_knows_the_tenant_is_asked_in_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    organisation = tricks(3)
    for trick in Trick.objects.filter(organisation=organisation):
        for name in ("a", "b"):
            Tenant.objects.create(trick=trick, name=name)
    queryset = Trick.objects.filter(organisation=organisation)
    local = threading.local()
    monkeypatch.setattr(Tenanted, "current", property(lambda _: getattr(local, "name", None)))
    for name in ("a", "b", "a"):
        local.name = name
        found = rows(stream_sync(GET("/"), queryset.prefetch_related("tenants"), tenants))
        assert {tuple(row["tenants"]) for row in found} == {(name,)}


def tenants(trick: Trick) -> dict[str, Any]:
    return {"tenants": [tenant.name for tenant in trick.tenants.all()]}


def test_rows_of_a_related_manager_do_not_show_the_object_of_the_view() -> None:
    organisation = tricks(3)
    organisation.name = "changed in the view, and not saved"
    found = rows(stream_sync(GET("/"), organisation.tricks.all(), with_organisation))
    assert {row["organisation"] for row in found} == {"organisation 7"}


def with_organisation(trick: Trick) -> dict[str, Any]:
    return {"organisation": trick.organisation.name}


def test_prefetches_with_their_own_querysets_are_kept() -> None:
    organisation = tricks(40)
    for few in (True, False, True):
        comments = Comment.objects.order_by("-text")
        comments = comments.filter(text="comment 0") if few else comments
        queryset = (
            of(organisation)
            .prefetch_related(None)
            .prefetch_related(
                Prefetch("comments", queryset=comments),
                Prefetch(
                    "categories", queryset=Category.objects.filter(slug="a"), to_attr="firsts"
                ),
                "comments__trick__author",
            )
        )
        assert rows(stream_sync(GET("/"), queryset, nested)) == usual(queryset, nested)


def nested(trick: Trick) -> dict[str, Any]:
    return {
        "comments": [(comment.text, str(comment.trick.author)) for comment in trick.comments.all()],
        "firsts": [category.slug for category in trick.firsts],  # type: ignore[attr-defined]
    }


def test_a_told_change_is_in_lists_of_groups_and_of_distinct_values() -> None:
    organisation = tricks(20)
    tricks_ = Trick.objects.filter(organisation=organisation).order_by("title")
    grouped = tricks_.values("title").annotate(number=Count("id"))
    distinct = tricks_.values("title").distinct()
    for queryset in (grouped, distinct):
        assert rows(stream_sync(GET("/"), queryset)) == usual(queryset.all())
    one = tricks_.first()
    assert one is not None
    Trick.objects.filter(pk=one.pk).update(title="another")
    conf.flow().changed_sync([Change("tricks_trick", (str(one.pk),))])
    for queryset in (grouped, distinct):
        found = rows(stream_sync(GET("/"), queryset))
        assert found == usual(queryset.all())
        assert "another" in [row["title"] for row in found]


def named(row: Any) -> dict[str, Any]:
    return {"key": row.pk, "name": row.name}


@pytest.mark.parametrize(
    ("model", "key"),
    [(Priced, Decimal("1.5")), (Weighed, 1.5), (Weighed, 1e300)],
)
def test_a_list_whose_key_is_no_whole_number_is_whole_and_a_told_change_is_in_it(
    model: Any, key: Any
) -> None:
    model.objects.bulk_create(model(pk=Decimal(at) / 4, name="old") for at in range(-200, 200))
    model.objects.get_or_create(pk=key, defaults={"name": "old"})
    for order in ("pk", "-pk", "name"):
        queryset = model.objects.order_by(order)
        for _ in range(2):
            assert rows(stream_sync(GET("/"), queryset, named)) == usual(queryset.all(), named)

        found = model.objects.get(pk=key)
        found.name = f"new by {order}"
        found.save()
        changed(found)
        assert rows(stream_sync(GET("/"), queryset, named)) == usual(queryset.all(), named)


@pytest.mark.parametrize("selects", [True, False])
def test_a_told_change_brings_rows_into_a_list_that_is_filtered_by_it(selects: bool) -> None:
    organisation = tricks(200)
    queryset = of(organisation) if selects else of(organisation).select_related(None)

    def by(name: str) -> list[int]:
        request = GET(f"/?author=eq.{name}")
        found = rows(stream_sync(request, queryset, serialize, filters={"author": "author__name"}))
        assert found == usual(queryset.filter(author__name=name), serialize)
        return [row["id"] for row in found]

    assert by("Grace")
    assert by("Joan") == []
    author = Author.objects.get(name="Grace")
    author.name = "Joan"
    author.save()
    changed(author)
    assert by("Joan")
    assert by("Grace") == []


def test_rows_that_nobody_waits_for_any_more_are_not_written() -> None:
    organisation = tricks(100)
    plan = planned(of(organisation), counted)
    written.clear()
    each = plan.rows_in_pool(SimpleNamespace(after=None, limit=100, conditions=[]))
    next(each)
    next(each)
    each.close()
    assert len(written) == 2


written: list[int] = []


def counted(trick: Trick) -> dict[str, Any]:
    written.append(trick.pk)
    return {"id": trick.pk}


def test_why_a_list_is_not_cached_is_said_once_whatever_statement_is_the_cause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    organisation = tricks(3)
    plan = planned(of(organisation), serialize)
    _said.clear()
    for at in range(50):
        say_uncached(
            UnseenError(f"the connection was told: `SET x = {at}`", "use `key=`"), plan.name
        )
    assert len(caplog.messages) == 1

    for at in range(2 * MOST_SAID):
        plan.name = f"list {at}"
        say_uncached(UnseenError("nothing is known", "use `key=`"), plan.name)
    assert len(_said) == MOST_SAID
    assert caplog.messages[-1] == "no more is said of lists that are not cached"
    _said.clear()


def planned(queryset: Any, write: Any) -> Plan:
    plan = Plan(GET("/"), queryset, write, None, 300, 3600, ("json",), None, (), None, None, None)
    plan.make()
    return plan


def test_a_list_of_values_is_filtered_by_related_rows_too() -> None:
    queryset = Trick.objects.filter(organisation=tricks(60)).order_by("id").values("id", "title")
    response = stream_sync(GET("/?who=eq.Ada"), queryset, filters={"who": "author__name"})
    assert rows(response) == usual(queryset.filter(author__name="Ada")) != []


def folder(one: Folder) -> dict[str, Any]:
    return {"id": one.pk, "parent": one.parent.name if one.parent else None}


def with_inner(one: Folder) -> dict[str, Any]:
    return {"id": one.pk, "inner": [inner.name for inner in one.inner.all()]}


def counts(one: Any) -> dict[str, Any]:
    return {"id": one.pk, "same": one.same}


OF_OWN: dict[str, Any] = {
    "selected": (folder, lambda rows: rows.select_related("parent"), {}),
    "sorted by": (folder, lambda rows: rows.select_related("parent").order_by("parent__name"), {}),
    "filtered by": (folder, lambda rows: rows.exclude(parent__name="new"), {}),
    "filtered by a request": (folder, lambda rows: rows, {"up": "parent__name"}),
    "prefetched": (with_inner, lambda rows: rows.prefetch_related("inner"), {}),
    "prefetched in part": (
        with_inner,
        lambda rows: rows.prefetch_related(
            Prefetch("inner", queryset=Folder.objects.exclude(name="new"))
        ),
        {},
    ),
    "in a subquery": (
        counts,
        lambda rows: rows.annotate(
            same=Exists(Folder.objects.exclude(pk=OuterRef("pk")).filter(name="new"))
        ),
        {},
    ),
}


@pytest.mark.parametrize("name", OF_OWN)
def test_a_told_change_of_a_row_is_in_the_rows_that_show_it_of_the_same_table(name: str) -> None:
    write, more, filters = OF_OWN[name]
    parents = Folder.objects.bulk_create(Folder(name=f"old {at}") for at in range(3))
    Folder.objects.bulk_create(
        Folder(name=f"inner {at}", parent=parents[at % 3]) for at in range(150)
    )
    queryset = more(Folder.objects.order_by("id"))
    query, usually = ("", queryset) if not filters else ("?up=eq.new", None)

    def is_right() -> None:
        wanted = queryset.filter(parent__name="new") if usually is None else queryset.all()
        for _ in range(2):
            found = rows(stream_sync(GET(f"/{query}"), queryset, write, filters=filters))
            assert found == usual(wanted.all(), write)

    is_right()
    for at in (1, 2):
        parents[at].name = "new"
        parents[at].save()
        changed(parents[at])
        is_right()
