"""The order in which rows are read on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import django
import pytest
from django.contrib.postgres.aggregates import ArrayAgg
from django.db import connections, models
from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    FilteredRelation,
    Func,
    Min,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
    Window,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Length, Lower, Now, Random, RowNumber, TruncDate
from django.test.utils import CaptureQueriesContext
from made import tricks
from tricks.models import Author, Category, Comment, Everything, Organisation, Trick

from chunkflow import Invalid
from chunkflow.django.order import Keyset, is_values
from chunkflow.django.values import OrderError

DATABASES = ["default", "postgres"]
pytestmark = pytest.mark.django_db(databases=DATABASES)


@pytest.fixture(autouse=True, scope="module")
def _rows(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """40 tricks in each database, for all tests here."""
    with django_db_blocker.unblock():
        for using in DATABASES:
            tricks(40, using)
    yield
    with django_db_blocker.unblock():
        for using in DATABASES:
            for model in (Organisation, Author, Category):
                model.objects.using(using).all().delete()


def walked(queryset: models.QuerySet[Any], order: Any = None, limit: int = 7) -> list[Any]:
    """All rows, read on from row to row."""
    keyset = Keyset(queryset, order)
    rows: list[Any] = []
    after = None
    while True:
        run = keyset.read(after, limit)
        keys = [keyset.key(row) for row in run]
        rows += [keyset.bare(row) for row in run]
        if len(run) < limit:
            return rows
        after = keys[-1]


def whole(queryset: models.QuerySet[Any], order: Any = None) -> list[Any]:
    """The same rows by one query."""
    keyset = Keyset(queryset, order)
    return [keyset.bare(row) for row in keyset.queryset]


FORGED = {
    "created": ["no date", "9999-99-99T00:00:00", b"", 1.5],
    "day": ["2026-02-30"],
    "price": ["one", "1e", b"1"],
    "length": ["1", "1 2 3 4", "99999999999999 0 0"],
    "token": ["no uuid"],
    "rating": ["much"],
    "id": ["one", b"\xff", float("inf")],
}


@pytest.mark.parametrize("using", DATABASES)
@pytest.mark.parametrize(
    ("name", "value"), [(name, one) for name in FORGED for one in FORGED[name]]
)
def test_a_cursor_of_a_value_that_no_row_can_have_is_a_fault_of_the_request(
    using: str, name: str, value: Any
) -> None:
    keyset = Keyset(Trick.objects.using(using).order_by(name))
    place = (value,) if name == "id" else (value, 1)
    with pytest.raises(Invalid, match="`after`"):
        keyset.read(place, 7)


def test_a_text_with_nul_is_a_value_where_the_database_has_it() -> None:
    place = ("a\0b", 1)
    assert len(Keyset(Trick.objects.order_by("title")).read(place, 7)) == 7
    with pytest.raises(Invalid, match="`after`"):
        Keyset(Trick.objects.using("postgres").order_by("title")).read(place, 7)


ORDERS: list[Any] = [
    (),
    ("id",),
    ("-id",),
    ("-pk",),
    ("title",),
    ("-title", "created"),
    ("created", "-title"),
    ("edited",),
    ("-edited",),
    ("-rating", "price"),
    ("price", "-edited", "rating"),
    ("length",),
    ("-day", "token"),
    ("token",),
    ("author",),
    ("-author", "title"),
    ("author_id",),
    ("author__name", "-created"),
    ("-author__born",),
    ("author__id",),
    ("organisation__name",),
    ("created__hour", "-id"),
    ("cover__path",),
    (F("edited").asc(nulls_first=True),),
    (F("edited").asc(nulls_last=True), "-title"),
    (F("rating").desc(nulls_last=True), F("edited").desc(nulls_first=True)),
    (Lower("title"), "edited"),
    (Length("title").desc(),),
    (TruncDate("created"), "-rating"),
    (Coalesce("edited", "created"),),
    (Case(When(rating__gt=0, then=Value(1)), default=Value(0)).desc(), "day"),
]


@pytest.mark.parametrize("using", DATABASES)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_rows_read_on_from_row_to_row_are_those_of_one_query(using: str, order: Any) -> None:
    rows = Trick.objects.using(using).order_by(*order)
    assert [one.pk for one in walked(rows)] == [one.pk for one in whole(rows)]
    assert len(walked(rows)) == 40
    back = rows.reverse()
    assert [one.pk for one in walked(back)] == [one.pk for one in whole(back)]


@pytest.mark.parametrize("using", DATABASES)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_the_order_is_that_of_django_with_the_primary_key_behind_it(using: str, order: Any) -> None:
    rows = Trick.objects.using(using).order_by(*order)
    keyset = Keyset(rows)
    tie = "-pk" if keyset.columns[-1].descending else "pk"
    expected = Trick.objects.using(using).order_by(*order, tie)
    assert [one.pk for one in walked(rows)] == [one.pk for one in expected]


@pytest.mark.parametrize("using", DATABASES)
def test_each_size_of_a_run_gives_the_same_rows(using: str) -> None:
    rows = Trick.objects.using(using).order_by("-rating", "edited")
    expected = [one.pk for one in whole(rows)]
    for limit in (1, 2, 3, 39, 40, 41, 500):
        assert [one.pk for one in walked(rows, limit=limit)] == expected


@pytest.mark.parametrize("using", DATABASES)
def test_rows_of_values_have_no_member_more(using: str) -> None:
    rows = Trick.objects.using(using).values("title", "author__name").order_by("author__born")
    found = walked(rows)
    assert len(found) == 40
    assert all(set(row) == {"title", "author__name"} for row in found)


@pytest.mark.parametrize("using", DATABASES)
def test_groups_are_told_apart_by_what_they_are_grouped_by(using: str) -> None:
    rows = (
        Trick.objects.using(using)
        .values("title", "day")
        .annotate(number=Count("id"))
        .order_by("-number")
    )
    found = walked(rows, limit=3)
    usual = list(rows.order_by())
    key = lambda row: (row["title"], str(row["day"]))  # noqa: E731
    assert sorted(found, key=key) == sorted(usual, key=key)
    assert [row["number"] for row in found] == sorted(
        (row["number"] for row in usual), reverse=True
    )


@pytest.mark.parametrize("using", DATABASES)
def test_distinct_values_stay_distinct(using: str) -> None:
    rows = Trick.objects.using(using).values("title").distinct().order_by("-title")
    titles = [row["title"] for row in walked(rows, limit=2)]
    assert len(titles) == len(set(titles)) == rows.count()


@pytest.mark.parametrize("using", DATABASES)
def test_annotations_and_aggregates_can_be_read_on_from(using: str) -> None:
    counted = Trick.objects.using(using).annotate(comment_count=Count("comments"))
    for rows in (
        counted.order_by("-comment_count"),
        counted.alias(first=Min("comments__id")).order_by("first", "title"),
        Trick.objects.using(using)
        .annotate(has=Exists(Comment.objects.filter(trick=OuterRef("pk"))))
        .order_by("-has"),
    ):
        found = walked(rows)
        assert [one.pk for one in found] == [one.pk for one in whole(rows)]
        assert len(found) == 40
        if "comment_count" in rows.query.annotations:
            assert [one.comment_count for one in found] == [
                one.comment_count for one in whole(rows)
            ]


@pytest.mark.parametrize("using", DATABASES)
def test_deferred_columns_of_the_order_cost_no_query_for_each_row(using: str) -> None:
    for rows in (
        Trick.objects.using(using).only("title"),
        Trick.objects.using(using).defer("created"),
    ):
        with CaptureQueriesContext(connections[using]) as queries:
            keyset = Keyset(rows.order_by("-created"))
            for row in keyset.read(None, 500):
                keyset.key(row)
        assert len(queries) == 1


def test_an_order_one_way_without_null_is_one_range() -> None:
    rows = Trick.objects.order_by("-created")
    keyset = Keyset(rows)
    (one,) = keyset.ranges(keyset._decoded(("2026-01-01T08:30:00+00:00", 7)))
    sql = str(rows.filter(one).query)
    assert '("tricks_trick"."created", "tricks_trick"."id") < (' in sql


def test_an_order_both_ways_is_two_ranges_with_equalities_first() -> None:
    keyset = Keyset(Trick.objects.order_by("-created", "id"))
    first, second = keyset.ranges(keyset._decoded(("2026-01-01T08:30:00+00:00", 7)))
    moment = keyset._decoded(("2026-01-01T08:30:00+00:00", 7))[0]
    assert first == Q(Q(created__exact=moment), Q(id__gt=7))
    assert second == Q(Q(created__lt=moment))


def test_postgresql_reads_a_range_from_the_index() -> None:
    organisation = Organisation.objects.using("postgres").get()
    rows = Trick.objects.using("postgres").filter(organisation=organisation)
    for order in (("-created",), ("-created", "-id")):
        keyset = Keyset(rows.order_by(*order))
        after = keyset.key(keyset.read(None, 1)[0])
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        (one,) = keyset.ranges(keyset._decoded(after))
        plan = keyset.queryset.filter(one)[:3].explain()
        assert "tricks_by_created" in plan
        assert "ROW(created, id) <" in plan.split("Index Cond")[1], plan


def test_meta_ordering_that_django_leaves_out_of_an_aggregate_is_said() -> None:
    keyset = Keyset(Trick.objects.annotate(number=Count("comments")))
    assert keyset.names() == ["id"]
    (warning,) = keyset.warnings
    assert "Meta.ordering of tricks.Trick" in warning
    assert Keyset(Trick.objects.all()).warnings == []
    assert Keyset(Trick.objects.all()).names() == ["-created", "-id"]


REFUSED: list[Any] = [
    (lambda: Trick.objects.order_by("?"), "random order"),
    (lambda: Trick.objects.order_by(Random()), "Random() changes"),
    (lambda: Trick.objects.order_by(Now() - F("created")), "Now() changes"),
    (lambda: Trick.objects.annotate(r=Random()).order_by("r"), "Random() changes"),
    (lambda: Trick.objects.order_by("categories__slug"), "several values for one row"),
    (lambda: Trick.objects.order_by("comments"), "several values for one row"),
    (lambda: Trick.objects.order_by(Lower("comments__text")), "several values for one row"),
    (lambda: Trick.objects.annotate(n=Window(RowNumber())).order_by("n"), "window"),
    (lambda: Trick.objects.annotate(n=Window(RowNumber())), "`n` is computed by a window"),
    (lambda: Trick.objects.annotate(n=Coalesce(Window(Count("id")), 0)), "computed by a window"),
    (lambda: Trick.objects.alias(n=Window(RowNumber())).filter(n=1), "computed by a window"),
    (lambda: Trick.objects.extra(select={"n": "row_number() OVER (ORDER BY id)"}), "by a window"),
    (lambda: Trick.objects.annotate(n=RawSQL("sum(1) over w", ())), "computed by a window"),
    (lambda: Trick.objects.annotate(n=Func(F("id"), template="rank() OVER ()")), "by a window"),
    (
        lambda: Trick.objects.filter(categories__slug__in=["a", "b"]),
        "to several of `tricks_category`",
    ),
    (lambda: Trick.objects.filter(comments__text="a"), "to several of `tricks_comment`"),
    (lambda: Trick.objects.filter(tags__name="a"), "to several of `tricks_tag`"),
    (lambda: Author.objects.filter(tricks__title="a"), "to several of `tricks_trick`"),
    (lambda: Trick.objects.annotate(c=F("comments__text")), "to several of `tricks_comment`"),
    (lambda: Trick.objects.annotate(c=F("comments__text")).distinct(), "`c` has several values"),
    (
        lambda: Trick.objects.annotate(c=F("comments__text"), n=Count("categories")),
        "`c` has several values",
    ),
    (lambda: Trick.objects.values("id", "categories__slug"), "to several of"),
    (
        lambda: Trick.objects.annotate(c=FilteredRelation("comments")).filter(c__text="a"),
        "to several of `tricks_comment`",
    ),
    (lambda: Trick.objects.extra(tables=["tricks_author"]), "to several of `tricks_author`"),
    (lambda: Everything.objects.order_by("json"), "from a JSONField"),
    (lambda: Everything.objects.order_by("json__name"), "from a JSONField"),
    (lambda: Trick.objects.annotate(n=ArrayAgg("comments__id")).order_by("n"), "from a ArrayField"),
    (lambda: Trick.objects.extra(order_by=["title"]), "extra(order_by"),
    (lambda: Trick.objects.extra(select={"n": "id % 7"}).order_by("n"), "annotate it"),
    (lambda: Trick.objects.all()[:10], "sliced"),
    (lambda: Trick.objects.all()[10:], "sliced"),
    (lambda: Trick.objects.filter(id=1).union(Trick.objects.filter(id=2)), "union"),
    (lambda: Trick.objects.order_by("title").distinct("title"), "distinct() with fields"),
    (Trick.objects.select_for_update, "select_for_update"),
    (lambda: Trick.objects.values_list("title"), "values()"),
    (lambda: Trick.objects.dates("created", "day"), "values()"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_an_order_that_cannot_be_read_on_from_is_refused_with_the_remedy(
    make: Any, said: str
) -> None:
    with pytest.raises(OrderError, match=r"\w") as error:
        Keyset(make())
    assert said in str(error.value)
    assert ";" in str(error.value), "there is a remedy"


ONE: dict[str, Any] = {
    "a window in a subquery": lambda rows: rows.annotate(
        n=Subquery(Comment.objects.annotate(n=Window(RowNumber())).values("n")[:1])
    ),
    "a text that reads like one": lambda rows: rows.annotate(
        n=RawSQL("'OVER (' || (SELECT max(n) FROM (SELECT count(*) OVER () AS n) AS t)", ())
    ),
    "distinct": lambda rows: rows.filter(categories__slug__in=["a", "b"]).distinct(),
    "a subquery": lambda rows: rows.filter(
        Exists(Comment.objects.filter(trick=OuterRef("pk"), text="comment 0"))
    ),
    "one category": lambda rows: rows.filter(categories=1),
    "one category by its unique name": lambda rows: rows.filter(categories__slug="a"),
    "without a category": lambda rows: rows.exclude(categories__slug="a"),
    "a relation to one": lambda rows: rows.filter(author__name="Ada", organisation__name__gte=""),
    "a row that points back": lambda rows: rows.filter(cover__path__contains="1"),
    "an aggregate": lambda rows: rows.filter(comments__text__gte="").annotate(n=Count("comments")),
    "groups": lambda rows: (
        rows.filter(comments__text__gte="").values("title").annotate(n=Count("id"))
    ),
    "one comment": lambda rows: rows.annotate(
        c=FilteredRelation("comments", condition=Q(comments__id=3))
    ).annotate(t=F("c__text")),
}
if django.VERSION < (5,):
    # It is refused: the condition of a join is not known before the query is compiled.
    del ONE["one comment"]


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("using", DATABASES)
def test_a_query_that_gives_each_row_once_is_read_on(using: str, name: str) -> None:
    rows = ONE[name](Trick.objects.using(using).order_by("title"))
    found = walked(rows, limit=3)
    assert found == whole(rows)
    shown = [tuple(row.items()) if isinstance(row, dict) else row.pk for row in found]
    assert len(set(shown)) == len(shown)


@pytest.mark.skipif(not hasattr(models, "CompositePrimaryKey"), reason="Django 5.2")
@pytest.mark.parametrize("order", ["pk", "-pk"])
@pytest.mark.parametrize("using", DATABASES)
def test_the_order_by_a_key_of_several_columns_is_that_of_django(using: str, order: str) -> None:
    from tricks.models import Seat

    Seat.objects.using(using).bulk_create(
        Seat(row=row, number=number) for number in range(6) for row in "bac"
    )
    rows = Seat.objects.using(using).order_by(order)
    assert [row.pk for row in walked(rows)] == [row.pk for row in rows]
    assert len(rows) == 18


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(OrderError, match="nothing named `nonsense`"):
        Keyset(Trick.objects.all(), order="nonsense")


def test_the_argument_wins_over_the_order_of_the_queryset() -> None:
    rows = Trick.objects.order_by("-title")
    assert Keyset(rows, order="created").names() == ["created", "id"]
    assert Keyset(rows, order=["-edited", "slug"]).names() == ["-edited", "slug", "id"]
    assert Keyset(rows, order=F("edited").desc(nulls_last=True)).names() == ["-edited", "-id"]


def test_a_relation_is_sorted_as_its_model_is() -> None:
    assert Keyset(Trick.objects.order_by("author")).names() == ["author__name", "id"]
    assert Keyset(Trick.objects.order_by("-author")).names() == ["-author__name", "-id"]
    assert Keyset(Trick.objects.order_by("author_id")).names() == ["author_id", "id"]
    assert Keyset(Author.objects.all()).names() == ["name", "id"]
    assert is_values(Trick.objects.values("id"))
