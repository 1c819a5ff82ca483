"""What is worked out of a queryset is remembered for the same queryset, and for no other."""

import contextvars
import copy
import gc
import os
import weakref
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import Count, Exists, F, Func, OuterRef, Prefetch, Q, Value
from django.db.models.functions import Upper
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy
from made import tricks
from test_key import QUERYSETS
from tricks.models import Author, Category, Comment, Everything, Organisation, Trick

from chunkflow.django import picture as picture_module
from chunkflow.django import prefetches, shape, stream_sync
from chunkflow.django.key import Here
from chunkflow.django.picture import picture
from chunkflow.django.shape import Shape, shape_of
from chunkflow.django.visible import Place

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Any:
    shape.forget()
    yield
    shape.forget()


def of(queryset: Any, order: Any = None, filters: Any = ()) -> Shape:
    return shape_of(queryset, Place.of(queryset.db), order, filters, Here.now())


@pytest.fixture
def organisations() -> list[Organisation]:
    return [tricks(3, seed=1), tricks(3, seed=2)]


def test_the_same_queryset_is_worked_out_once_and_each_other_by_itself(
    organisations: list[Organisation],
) -> None:
    made = [of(one(Trick.objects.all(), *organisations)) for one in QUERYSETS]
    for at, one in enumerate(QUERYSETS):
        queryset = one(Trick.objects.all(), *organisations)
        assert of(queryset) is made[at], at
        assert made[at].digest == Shape(queryset.using("default"), None, ()).digest
    assert len(set(map(id, made))) == len(QUERYSETS)


def test_an_order_filters_a_language_a_zone_and_a_database_are_parts_of_the_question() -> None:
    all_ = Trick.objects.all()
    made = [of(all_), of(all_, "title"), of(all_, F("title").desc()), of(all_, filters=["title"])]
    made.append(of(all_, filters={"title": "body"}))
    made.append(of(all_.using("other")))
    with translation.override("de"):
        made.append(of(all_))
    with timezone.override(timezone.get_fixed_timezone(60)):
        made.append(of(all_))
    assert len(set(map(id, made))) == len(made)
    assert of(all_) is made[0]


def test_a_lazy_text_is_in_the_language_of_the_request() -> None:
    def answered() -> Any:
        return Trick.objects.annotate(answer=Value(gettext_lazy("Yes"), models.TextField()))

    with translation.override("en"):
        english = of(answered())
        assert of(answered()) is english
    with translation.override("de"):
        german = of(answered())
        assert list(map(str, german.query.params)) == ["Ja"]
    assert german.digest != english.digest


tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="one")


class ByTenant(Func):
    """Its SQL depends on what is in no queryset."""

    output_field = models.CharField()

    def as_sql(self, *_: Any, **__: Any) -> Any:
        return "%s", [tenant.get()]


class Titled(str):
    def __conform__(self, _: Any) -> str:
        return tenant.get()


UNKNOWN: list[Any] = [
    lambda: Trick.objects.filter(title=ByTenant()),
    lambda: Trick.objects.annotate(tenant=ByTenant()),
    lambda: Trick.objects.annotate(tenant=Upper(ByTenant())),
    lambda: Trick.objects.filter(Q(title=ByTenant()) | Q(rating=1)),
    lambda: Trick.objects.filter(Exists(Comment.objects.filter(text=ByTenant()))),
    lambda: Trick.objects.filter(title=Titled("a")),
    lambda: Trick.objects.filter(title__in=["b", Titled("a")]),
    lambda: Trick.objects.prefetch_related(
        Prefetch("comments", Comment.objects.filter(text=ByTenant()))
    ),
    lambda: Trick.objects.order_by(Upper(ByTenant())),
]


@pytest.mark.parametrize("make", UNKNOWN)
def test_a_queryset_with_code_that_is_not_djangos_is_worked_out_each_time(make: Any) -> None:
    assert picture(make()) is None


def test_a_queryset_in_an_expression_is_not_executed() -> None:
    inner = Comment.objects.filter(trick=OuterRef("pk"), text="a")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        queryset = Trick.objects.filter(Exists(inner), pk__in=Comment.objects.values("trick"))
        assert picture(queryset) is not None
        assert picture(queryset) != picture(Trick.objects.filter(Exists(inner)))
    assert not queries


def test_what_a_view_does_with_its_values_later_changes_no_shape() -> None:
    def document(value: Any) -> Any:
        return Everything.objects.annotate(more=Value([value], models.JSONField())).filter(
            json={"a": [value]}
        )

    held: dict[str, Any] = {"b": 1}
    made = of(document(held))
    again = of(document({"b": 1}))
    assert again is made
    held["b"] = 2
    assert of(document({"b": 1})) is made
    assert "2" not in str(Shape(made.queryset, None, ()).query.params)
    assert of(document(held)) is not made


def test_a_table_that_is_renamed_is_another_table(monkeypatch: pytest.MonkeyPatch) -> None:
    named = [
        lambda: Trick.objects.select_related("author"),
        lambda: Trick.objects.prefetch_related("comments__author"),
        Author.objects.all,
    ]
    made = [of(one()) for one in named]
    assert [of(one()) for one in named] == made
    monkeypatch.setattr(Author._meta, "db_table", "authors_of_one_tenant")
    renamed = [of(one()) for one in named]
    assert not {one.digest for one in made} & {one.digest for one in renamed}


def test_a_field_that_is_a_copy_is_remembered_by_nobody() -> None:
    title = copy.copy(Trick._meta.get_field("title"))
    known = len(picture_module._living)
    assert picture(Trick.objects.annotate(x=Value("a", output_field=title))) is None
    assert len(picture_module._living) == known


def test_what_a_manager_gives_is_asked_in_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    class OfTenant(models.Manager[Any]):
        def get_queryset(self) -> Any:
            return super().get_queryset().filter(slug=tenant.get())

    held: Any = Category._meta
    manager = OfTenant()
    manager.model = Category
    monkeypatch.setitem(vars(held), "default_manager", manager)
    prefetches.step_of.cache_clear()
    try:
        queryset = Trick.objects.prefetch_related("categories")
        one = of(queryset)
        assert of(queryset) is one
        token = tenant.set("two")
        two = of(queryset)
        tenant.reset(token)
        assert of(queryset) is one
        assert [str(made.prefetched[0].queryset.query.where) for made in (one, two)] == [
            "(AND: Exact(Col(tricks_category, tricks.Category.slug), 'one'))",
            "(AND: Exact(Col(tricks_category, tricks.Category.slug), 'two'))",
        ]
    finally:
        prefetches.step_of.cache_clear()


def test_what_is_remembered_is_bounded_and_holds_no_row_of_a_request() -> None:
    organisation = tricks(2)
    gone = weakref.ref(organisation)
    of(organisation.tricks.all()).followed  # noqa: B018
    of(Trick.objects.filter(organisation=organisation).annotate(n=Count("comments")))
    assert len(shape._known) == 4
    del organisation
    gc.collect()
    assert gone() is None

    of(Trick.objects.filter(pk__in=range(50_000)))
    assert len(shape._known) == 4
    for at in range(2 * shape.MOST):
        of(Trick.objects.filter(rating=at))
    assert len(shape._known) <= 2 * shape.MOST


def by_anything(trick: Trick) -> dict[str, Any]:
    return {"id": trick.pk, "home": os.environ.get("HOME")}


@pytest.mark.django_db(transaction=True)
def test_a_list_that_is_not_cached_leaves_nothing_of_its_requests_behind() -> None:
    tricks(2)

    def asked() -> weakref.ref[Any]:
        request = RequestFactory().get("/")
        response: Any = stream_sync(request, Trick.objects.filter(title="a"), by_anything)
        b"".join(response)
        return weakref.ref(request)

    before = [asked() for _ in range(3)]
    gc.collect()
    assert [one() for one in before] == [None] * 3
