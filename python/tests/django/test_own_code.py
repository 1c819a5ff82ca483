"""Programs whose own code has a say in what is read: no request gets what another one asked for."""

import contextvars
import enum
import functools
import gc
import json
import time
import weakref
from typing import Any

import pytest
from django.db import models
from django.db.models import (
    Exists,
    ExpressionWrapper,
    F,
    FilteredRelation,
    OuterRef,
    Prefetch,
    Q,
    Value,
)
from django.db.models.expressions import RawSQL
from django.test import RequestFactory
from django.utils.functional import lazy
from made import tricks
from tricks.models import Category, Comment, Cover, Everything, Folder, Trick

from chunkflow.django import code, compiled, conf, shape, stream_sync, watch
from chunkflow.django.code import code_of
from chunkflow.django.key import Here
from chunkflow.django.picture import picture
from chunkflow.django.shape import Shape, shape_of
from chunkflow.django.visible import Place

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="one")


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Any:
    shape.forget()
    compiled._bare.clear()
    yield
    shape.forget()
    compiled._bare.clear()


def of(queryset: Any, order: Any = None, filters: Any = ()) -> Shape:
    return shape_of(queryset, Place.of(queryset.db), order, filters, Here.now())


class ByTenant(models.Func):
    """Its SQL depends on what is in no queryset."""

    output_field = models.CharField()

    def as_sql(self, *_: Any, **__: Any) -> Any:
        return "%s", [tenant.get()]


class Suffixed(models.Transform):
    lookup_name = "suffixed"
    output_field = models.CharField()

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        sql, params = compiler.compile(self.lhs)
        return f"({sql} || %s)", [*params, tenant.get()]


class Scoped(models.QuerySet[Any]):
    """Adds a condition wherever it is copied."""

    def _chain(self) -> Any:
        made: Any = super()._chain()  # type: ignore[misc]
        made.query.add_q(Q(slug=tenant.get()))
        return made


class Named(models.TextChoices):
    A = "a", "A"

    def __conform__(self, _: Any) -> str:
        return tenant.get()


class Encoder(json.JSONEncoder):
    def encode(self, o: Any) -> str:
        return super().encode([tenant.get(), o])


class Tenancy:
    @classmethod
    def name(cls) -> str:
        return tenant.get()


DECIDED: dict[str, Any] = {
    "a queryset's own copy": lambda: Scoped(Trick),
    "a prefetch's own copy": lambda: Trick.objects.prefetch_related(
        Prefetch("categories", Scoped(Category))
    ),
    "a transform in an order": lambda: Trick.objects.order_by("title__suffixed"),
    "a transform behind F": lambda: Trick.objects.order_by(F("title__suffixed").desc()),
    "a transform in a prefetch": lambda: Trick.objects.prefetch_related(
        Prefetch("comments", Comment.objects.order_by("text__suffixed"))
    ),
    "a transform in a condition": lambda: Trick.objects.filter(title__suffixed="a"),
    "a lazy value": lambda: Trick.objects.annotate(
        x=Value(lazy(Tenancy.name, str)(), models.CharField())
    ),
    "a member of an enumeration": lambda: Trick.objects.annotate(
        x=Value(Named.A, models.TextField())
    ),
    "an encoder of JSON": lambda: Everything.objects.annotate(
        x=Value({"a": 1}, models.JSONField(encoder=Encoder))
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("what", DECIDED)
def test_what_a_programs_own_code_decides_is_worked_out_for_each_request(what: str) -> None:
    models.CharField.register_lookup(Suffixed)
    models.TextField.register_lookup(Suffixed)
    try:
        first = of(DECIDED[what]())
        token = tenant.set("two")
        second = of(DECIDED[what]())
        alone = Shape(DECIDED[what]().using("default"), None, ())
        tenant.reset(token)
        assert second is not first
        assert [query.params for query in second.queries] == [one.params for one in alone.queries]
    finally:
        models.CharField._unregister_lookup(Suffixed)  # type: ignore[attr-defined]
        models.TextField._unregister_lookup(Suffixed)  # type: ignore[attr-defined]


def as_both(queryset: Any) -> tuple[Shape, Shape]:
    """What is worked out for a request of each tenant."""
    first = of(queryset)
    token = tenant.set("two")
    second = of(queryset)
    tenant.reset(token)
    return first, second


@pytest.mark.django_db
def test_an_order_of_a_related_model_is_compiled_for_each_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Comment._meta, "ordering", [ByTenant().asc()])
    first, second = as_both(Trick.objects.prefetch_related("comments"))
    assert first.digest != second.digest


@pytest.mark.django_db
def test_a_manager_with_a_method_of_its_own_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    manager: Any = Category._default_manager
    monkeypatch.setattr(
        manager, "get_queryset", lambda: models.QuerySet(Category).filter(slug=tenant.get()), False
    )
    first, second = as_both(Trick.objects.prefetch_related("categories"))
    assert first.digest != second.digest


def by_session(text: str) -> Any:
    """Comments, as a session decides."""
    decided = RawSQL("(SELECT 1 AS current_user)", ())
    return Comment.objects.annotate(x=decided).filter(text=text, x=1)


@pytest.mark.django_db
def test_what_holds_of_the_list_holds_of_all_that_is_asked_for_it() -> None:
    nested = Prefetch(
        "tricks", Trick.objects.prefetch_related(Prefetch("comments", Greeting(Comment)))
    )
    unseen = of(Category.objects.prefetch_related(nested)).unseen
    assert unseen is not None
    assert "Greeting" in unseen.what

    inner = Prefetch("comments", Comment.objects.using("other"))
    elsewhere = Prefetch("tricks", Trick.objects.prefetch_related(inner))
    assert of(Category.objects.prefetch_related(elsewhere)).aliases == {"default", "other"}

    prefetched = [
        of(Trick.objects.prefetch_related(Prefetch("comments", by_session(text))))
        for text in ("a", "b")
    ]
    assert all(one.by_session for one in prefetched)
    assert prefetched[0].digest != prefetched[1].digest

    mine = Exists(by_session("a").filter(trick=OuterRef("pk")))
    assert not of(Trick.objects.alias(mine=mine)).by_session
    assert of(Trick.objects.alias(mine=mine), filters=["mine"]).by_session

    own = models.Func(F("text"), function="of_tenant", output_field=models.TextField())
    shown = Prefetch("comments", Comment.objects.annotate(own=own))
    assert "of_tenant()" in of(Trick.objects.prefetch_related(shown)).names


@pytest.mark.django_db
def test_a_manager_is_asked_once_for_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    days = ["monday", "tuesday"]

    def today() -> Any:
        day = days.pop(0) if len(days) > 1 else days[0]
        return models.QuerySet(Category).filter(slug=day)

    manager: Any = Category._default_manager
    monkeypatch.setattr(manager, "get_queryset", today, False)
    queryset = Trick.objects.prefetch_related("categories")
    of(queryset)
    shown = of(queryset).prefetched[0].queryset
    assert shown is not None
    assert "tuesday" in str(shown.query.where)


@pytest.mark.django_db
def test_what_a_manager_says_at_length_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    manager: Any = Category._default_manager
    monkeypatch.setattr(
        manager,
        "get_queryset",
        lambda: models.QuerySet(Category).filter(pk__in=range(9_000)),
        False,
    )
    of(Trick.objects.prefetch_related("categories"))
    assert len(shape._known) == 0


class Greeting(models.QuerySet[Any]):
    """Rows of it have what it was given."""

    _greeting = ""

    def greet(self, text: str) -> Any:
        made: Any = self._chain()  # type: ignore[attr-defined]
        made._greeting = text
        return made

    def _clone(self) -> Any:
        made: Any = super()._clone()  # type: ignore[misc]
        made._greeting = self._greeting
        return made

    def _fetch_all(self) -> None:
        super()._fetch_all()  # type: ignore[misc]
        for row in self._result_cache:  # type: ignore[attr-defined]
            row.greeting = self._greeting


class Scaled(models.FloatField):
    """Its values are not those of the database."""

    def __init__(self, *arguments: Any, scale: float = 1, **options: Any) -> None:
        self.scale = scale
        super().__init__(*arguments, **options)

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return None if value is None else value * self.scale


def slug(row: Any) -> dict[str, Any]:
    return {"slug": row.slug}


def greeted(row: Any) -> dict[str, Any]:
    return {"greeting": row.greeting}


def asked(queryset: Any, write: Any = None, target: str = "/", **more: Any) -> Any:
    response: Any = stream_sync(RequestFactory().get(target), queryset, write, **more)
    found = b"".join(response)
    assert response.status_code == 200, found
    return json.loads(found)["results"]


@pytest.mark.django_db(transaction=True)
def test_two_views_of_one_sql_have_each_their_own_rows() -> None:
    tricks(2)
    for name in ("Ann", "Bob"):
        found = asked(Greeting(Trick).greet(name), greeted)
        assert found == [{"greeting": name}] * 2
    Trick.objects.update(rating=2.0)
    for scale in (2, 3):
        output = Scaled(scale=scale)
        wrapped = ExpressionWrapper(F("rating"), output_field=output)
        found = asked(Trick.objects.annotate(x=wrapped).values("x", "pk"))
        assert {row["x"] for row in found} == {2.0 * scale}


@pytest.mark.django_db(transaction=True)
def test_what_a_filter_means_is_in_the_key() -> None:
    tricks(2)
    first, second = Trick.objects.order_by("pk")
    Comment.objects.create(trick=first, text="of one")
    Comment.objects.create(trick=second, text="of two")

    def noted(text: str) -> Any:
        noting = Comment.objects.filter(trick=OuterRef("pk"), text=text)
        return Trick.objects.alias(mine=Exists(noting))

    def covered(path: str) -> Any:
        relation = FilteredRelation("cover", condition=Q(cover__path=path))
        return Trick.objects.annotate(mine=relation)

    for text, expected in (("of one", first), ("of two", second)):
        found = asked(noted(text), slug, "/?mine=eq.true", filters=["mine"])
        assert found == [{"slug": expected.slug}]

    for path, trick in (("one", first), ("two", second)):
        Cover.objects.update_or_create(trick=trick, defaults={"path": path})
    for path, expected in (("one", first), ("two", second)):
        target = "/?mine=not.is.null"
        found = asked(covered(path), slug, target, filters={"mine": "mine__id"})
        assert found == [{"slug": expected.slug}]

    for value in (1, 2):
        masked = Trick.objects.annotate(x=Value(value)).values("id", "slug")
        found = asked(masked, None, "/?x=eq.1", filters=["x"])
        assert len(found) == (2 if value == 1 else 0)


@pytest.mark.django_db(transaction=True)
def test_lists_of_like_queries_follow_each_its_own_tables() -> None:
    tricks(1)
    watch(Cover, Folder)
    first = Trick.objects.get()

    def having(model: Any) -> Any:
        return Trick.objects.alias(x=Exists(model.objects.filter(trick=OuterRef("pk"))))

    of(having(Comment), filters=["x"])
    Comment.objects.all().delete()
    assert asked(having(Cover), slug, "/?x=eq.true", filters=["x"]) == []
    Cover.objects.create(trick=first, path="p")
    soon(lambda: asked(having(Cover), slug, "/?x=eq.true", filters=["x"]) != [])

    top = Folder.objects.create(name="top")
    tops = Folder.objects.filter(name="top")

    def near(through: str) -> Any:
        return tops.prefetch_related(Prefetch(through, Folder.objects.all(), to_attr="near"))

    of(near("parent")).followed  # noqa: B018
    assert asked(near("inner"), names) == [{"near": []}]
    Folder.objects.create(name="kid", parent=top)
    soon(lambda: asked(near("inner"), names) == [{"near": ["kid"]}])


def names(row: Any) -> dict[str, Any]:
    return {"near": [one.name for one in row.near]}


def soon(holds: Any) -> None:
    """Waits, two seconds at most, until it holds."""
    end = time.monotonic() + 2
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_forgotten", [True, False])
def test_lists_that_are_not_cached_keep_no_request(is_forgotten: bool) -> None:
    tricks(1)

    def alive(queryset: Any) -> bool:
        def view() -> Any:
            request = RequestFactory().get("/")
            response: Any = stream_sync(request, queryset, slug)
            b"".join(response)
            return weakref.ref(request)

        found = view()
        if is_forgotten:
            shape.forget()
            conf.forget()
        gc.collect()
        return found() is not None

    assert not alive(Trick.objects.prefetch_related("tags__target__x"))
    assert not alive(Trick.objects.annotate(x=RawSQL("(SELECT 1 AS current_user)", ())))


@pytest.mark.django_db
def test_a_lazy_object_is_not_woken_by_a_picture(django_assert_num_queries: Any) -> None:
    from django.utils.functional import SimpleLazyObject

    tricks(1)
    queryset: Any = Trick.objects.all()
    queryset._user = SimpleLazyObject(Trick.objects.get)
    with django_assert_num_queries(0):
        assert picture(queryset) is None


class Mode(enum.Enum):
    A = "a"


class Label(str):
    extra: str


TABLE: dict[str, int] = {"k": 1}
PARTIAL = functools.partial(dict, "k", "v")
LABEL = Label("x")
MODE: Any = Mode.A


def reads_all(row: Any) -> Any:
    return TABLE, PARTIAL, LABEL, MODE


def test_each_change_of_what_a_serializer_reads_is_another_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def changes() -> Any:
        yield lambda: PARTIAL.__setstate__((dict, (), {"k": "v"}, None))  # type: ignore[arg-type]
        yield lambda: PARTIAL.__setstate__((dict, ("k", "v"), {}, None))  # type: ignore[arg-type]
        for value in ("a", "b"):
            yield functools.partial(setattr, LABEL, "extra", value)
            yield functools.partial(setattr, MODE, "note", value)
        yield lambda: TABLE.update(k=2)

    before = code_of(reads_all)
    for number, change in enumerate(changes()):
        change()
        now = code_of(reads_all)
        # The first partial comes back by the second change.
        assert now != before, number
        before = now
    TABLE["k"] = 1
    del LABEL.extra, MODE.note


def test_a_value_that_changes_while_it_is_looked_at_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = code_of(reads_all)
    code._known.clear()
    taken = code._fixed_parts

    def slow(value: Any, *more: Any) -> Any:
        if value is TABLE:
            TABLE["k"] = 2
        return taken(value, *more)

    with monkeypatch.context() as patch:
        patch.setattr(code, "_fixed_parts", slow)
        code_of(reads_all)
    assert code_of(reads_all) != old
    TABLE["k"] = 1
