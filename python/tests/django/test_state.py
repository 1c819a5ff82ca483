"""A state of the program that a serializer reads is in the key, or nothing is cached."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import elsewhere
import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import AsyncRequestFactory, RequestFactory
from made import tricks
from serializers import TrickSerializer
from states import current, serializers
from states.inner import current as inner
from tricks.models import Author, Comment, Cover, Trick
from watched.models import Place, Restaurant

from chunkflow.django import conf, stream, stream_sync
from chunkflow.django.code import SerializerError, look
from chunkflow.django.plan import Plan

pytestmark = pytest.mark.django_db(transaction=True)

GET = RequestFactory().get


@pytest.fixture(autouse=True)
def _new_flow() -> Iterator[None]:
    conf.forget()
    yield
    conf.forget()


def read(serialize: Any, **options: Any) -> list[dict[str, Any]]:
    response = stream_sync(
        GET("/"), options.pop("rows", Trick.objects.order_by("id")), serialize, **options
    )
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = json.loads(b"".join(response))["results"]  # type: ignore[call-overload]
    return found


def why_not_cached(serialize: Any, *others: Any) -> str:
    return str(look(serialize, others)[1] or "")


def attribute(thing: Any, name: str = "WHO") -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(thing, name, "Ada", raising=False)


def item(thing: Any, name: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setitem(thing, name, "Ada")


SEEN: dict[Any, Callable[[pytest.MonkeyPatch], None]] = {
    serializers.of_a_class: attribute(serializers.Config, "tenant"),
    serializers.of_an_object: attribute(serializers.HOLDER, "who"),
    serializers.of_a_module: attribute(current),
    serializers.of_an_inner_module: attribute(inner),
    serializers.of_an_import: attribute(current),
    serializers.of_a_name_imported: attribute(current),
    serializers.of_an_import_renamed: attribute(inner),
    serializers.of_another_folder: attribute(elsewhere),
    serializers.of_a_table_of_functions: attribute(elsewhere),
    serializers.of_a_function: attribute(serializers.of_a_function, "who"),
    serializers.of_a_dict: item(serializers.MIXED, "who"),
    serializers.of_a_list: item(serializers.LISTED[1], "who"),
    serializers.of_a_default: item(*serializers.boxed.__defaults__, "who"),  # type: ignore[misc]
    serializers.of_a_later_name: attribute(serializers, "LATER"),
    serializers.of_a_setting: attribute(settings),
    serializers.of_a_setting_by_name: attribute(settings),
}

UNSEEN: dict[Any, Callable[[pytest.MonkeyPatch], None]] = {
    serializers.of_slots: attribute(serializers.ODD, "who"),
    serializers.of_a_lazy_object: attribute(serializers.HOLDER, "who"),
    serializers.of_a_module_as_a_whole: attribute(current),
    serializers.of_the_environment: lambda patch: patch.setenv("CHUNKFLOW_WHO", "Ada"),
    serializers.of_all_names: attribute(serializers, "LATER"),
    serializers.of_the_cache: lambda patch: cache.set("who", "Ada"),
}


def name(one: Any) -> str:
    return getattr(one, "__name__", "")


@pytest.fixture
def _settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "WHO", "nobody", raising=False)
    cache.delete("who")
    yield
    cache.delete("who")


@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize("serialize", [*SEEN, *UNSEEN], ids=name)
def test_rows_are_those_of_the_state_that_the_serializer_reads_now(
    serialize: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tricks(3)
    assert {row["who"] for row in read(serialize)} == {"nobody"}
    {**SEEN, **UNSEEN}[serialize](monkeypatch)
    assert {row["who"] for row in read(serialize)} == {"Ada"}
    monkeypatch.undo()
    monkeypatch.setattr(settings, "WHO", "nobody", raising=False)
    cache.delete("who")
    assert {row["who"] for row in read(serialize)} == {"nobody"}


@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize("serialize", SEEN, ids=name)
def test_a_state_that_can_be_seen_is_in_the_key(serialize: Any) -> None:
    assert why_not_cached(serialize, Trick) == ""


@pytest.mark.parametrize("serialize", UNSEEN, ids=name)
def test_a_state_that_cannot_be_seen_is_told_with_the_remedy(serialize: Any) -> None:
    why = why_not_cached(serialize, Trick)
    assert "key=" in why or "import the names" in why


def test_what_holds_no_state_hinders_no_cache() -> None:
    for one in (
        serializers.of_harmless_things,
        serializers.of_usual_things,
        serializers.of_all_that_a_model_has,
    ):
        assert why_not_cached(one, Trick) == ""
    assert why_not_cached(TrickSerializer, Trick) == ""


def test_a_method_that_no_serializer_calls_hinders_no_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def save(self: Any) -> None:
        cache.set("who", serializers.LOCAL.who)

    monkeypatch.setattr(Trick, "save_with_notice", save, raising=False)
    assert why_not_cached(serializers.of_all_that_a_model_has, Trick) == ""
    monkeypatch.setattr(Trick, "get_absolute_url", save)
    assert "LOCAL" in why_not_cached(serializers.of_all_that_a_model_has, Trick)


def test_the_methods_of_a_related_row_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    tricks(20)

    def called(self: Author) -> str:
        return f"{elsewhere.WHO} {self.name}"

    monkeypatch.setattr(Author, "called", called, raising=False)
    rows = Trick.objects.select_related("author").exclude(author=None)
    assert {row["who"] for row in read(serializers.of_an_author, rows=rows)} == {
        "nobody Ada",
        "nobody Grace",
    }
    monkeypatch.setattr(elsewhere, "WHO", "some")
    assert {row["who"] for row in read(serializers.of_an_author, rows=rows)} == {
        "some Ada",
        "some Grace",
    }


@pytest.mark.parametrize(
    ("serialize", "state"),
    [(serializers.of_a_thread, serializers.LOCAL), (serializers.of_a_task, serializers.OF_ASGI)],
    ids=["thread", "task"],
)
@pytest.mark.parametrize("options", [{}, {"key": "all"}], ids=["", "key"])
def test_what_a_thread_holds_is_read_in_the_thread_of_the_request(
    serialize: Any, state: Any, options: Any
) -> None:
    tricks(3)
    for who in ("Ada", "Grace"):
        state.who = who
        assert {row["who"] for row in read(serialize, **options)} == {who}
    del state.who


def test_a_context_variable_is_that_of_the_request_in_the_threads_that_read() -> None:
    tricks(3)
    for options in (None, "key"):
        for who in ("Ada", "Grace", "Ada"):
            token = serializers.VARIABLE.set(who)
            key = {} if options is None else {"key": who}
            assert {row["who"] for row in read(serializers.of_a_variable, **key)} == {who}
            serializers.VARIABLE.reset(token)


def queries(serialize: Any, **options: Any) -> int:
    """How many queries all threads make for a list that was read before."""
    read(serialize, **options)
    made: list[Any] = []
    rows = Plan.rows

    def counted(plan: Plan, fetch: Any) -> Any:
        made.append(fetch)
        return rows(plan, fetch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "rows", counted)
        read(serialize, **options)
    return len(made)


@pytest.mark.usefixtures("_settings")
def test_with_a_key_all_is_cached_but_what_a_thread_holds() -> None:
    tricks(3)
    serializers.LOCAL.who = serializers.OF_ASGI.who = "Ada"
    of_threads = (serializers.of_a_thread, serializers.of_a_task, serializers.of_a_lazy_object)
    for one in (serializers.of_a_variable, *UNSEEN, *of_threads):
        assert queries(one), one
        assert bool(queries(one, key="all")) == (one in of_threads), one
    for one in SEEN:
        assert not queries(one), one


def test_the_class_of_a_class_is_seen() -> None:
    class Kind(type):
        @property
        def who(cls) -> Any:
            return serializers.LOCAL.who

    class Named(metaclass=Kind):
        pass

    def serialize(row: Trick, kind: Any = Named) -> dict[str, Any]:
        return {"who": kind.who}

    assert "LOCAL" in why_not_cached(serialize)


def test_a_context_variable_is_that_of_each_of_two_tasks() -> None:
    tricks(3)

    async def view(who: str, key: Any) -> list[Any]:
        serializers.VARIABLE.set(who)
        request = AsyncRequestFactory().get("/")
        response: Any = await stream(
            request, Trick.objects.order_by("id"), serializers.of_a_variable, key=key
        )
        body = (
            response.content
            if not response.streaming
            else b"".join([part async for part in response])
        )
        return [row["who"] for row in json.loads(body)["results"]]

    async def both(with_key: bool) -> list[list[Any]]:
        people = ["Ada", "Grace"]
        return list(await asyncio.gather(*(view(one, one if with_key else None) for one in people)))

    for with_key in (False, True):
        assert asyncio.run(both(with_key)) == [["Ada"] * 3, ["Grace"] * 3]


def test_the_methods_of_a_row_in_two_tables_and_at_the_other_end_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def called(self: Any) -> Any:
        return serializers.LOCAL.who

    def of_its_place(row: Any) -> dict[str, Any]:
        return {"who": row.place_ptr.called()}

    def of_its_comments(row: Any) -> dict[str, Any]:
        return {"who": [one.called() for one in row.comments.all()]}

    def of_its_cover(row: Any) -> dict[str, Any]:
        return {"who": row.cover.called()}

    cases = [(of_its_place, Restaurant, Place), (of_its_comments, Trick, Comment)]
    for one, model, other in [*cases, (of_its_cover, Trick, Cover)]:
        assert why_not_cached(one, model) == ""
        with monkeypatch.context() as patch:
            patch.setattr(other, "called", called, raising=False)
            assert "LOCAL" in why_not_cached(one, model)


def test_a_global_that_is_made_late_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serializers, "CLIENT", None)
    tricks(3)
    for _ in range(3):
        assert {row["who"] for row in read(serializers.of_a_client_made_late)} == {"nobody"}


def test_a_closure_is_refused_unless_a_key_says_what_it_closes_over() -> None:
    tricks(2)

    def made_for(who: str) -> Any:
        def serialize(row: Trick) -> dict[str, Any]:
            return {"id": row.pk, "who": who}

        return serialize

    with pytest.raises(SerializerError, match="closes over `who`"):
        read(made_for("Ada"))
    for who in ("Ada", "Grace", "Ada"):
        assert {row["who"] for row in read(made_for(who), key=who)} == {who}


def test_what_is_seen_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    from chunkflow.django import code

    class Counted(code.Code):
        def __init__(self, *arguments: Any) -> None:
            made.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(code, "Code", Counted)
    code._known.clear()
    for one in (*SEEN, *UNSEEN):
        for _ in range(3):
            look(one, (Trick,))
    assert len(made) == len(SEEN) + len(UNSEEN)


def test_a_function_that_each_request_makes_anew_is_worked_out_once() -> None:
    from chunkflow.django import code

    def made(who: str) -> Any:
        def serialize(row: Trick, who: str = who) -> dict[str, Any]:
            return {"id": row.pk, "who": who}

        return serialize

    code._known.clear()
    found = {look(made(who), (Trick,))[0] for who in ("Ada", "Grace") * 20}
    assert len(found) == 2
    assert [len(variants) for variants in code._known.values()] == [1]

    tricks(2)
    for who in ("Ada", "Grace", "Ada"):
        assert {row["who"] for row in read(made(who))} == {who}
