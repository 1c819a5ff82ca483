"""What is told, and when. What is told to is a list here; test_fresh.py has real ones."""

from __future__ import annotations

import logging

import pytest
from django.core import serializers
from django.db import connections, transaction
from django.db.models import F, QuerySet
from django.test import TestCase
from told import Told, rolled_back
from watched.models import (
    Author,
    Category,
    Comment,
    Lesson,
    Mark,
    Note,
    Organisation,
    Place,
    Restaurant,
    Sponsorship,
    Trick,
    Vote,
)

from chunkflow.django import telling
from chunkflow.django.watch import changed

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    one = Told()
    monkeypatch.setattr(telling, "send", one.send)
    return one


@pytest.fixture
def organisation() -> Organisation:
    return Organisation.objects.create(name="acme")


@pytest.fixture
def trick(organisation: Organisation, told: Told) -> Trick:
    trick = Trick.objects.create(slug="one", title="One", organisation=organisation)
    told.tells.clear()
    return trick


def test_a_saved_row_is_told_with_its_key_and_the_rows_that_it_points_to(
    organisation: Organisation, told: Told
) -> None:
    trick = Trick.objects.create(slug="one", title="One", organisation=organisation)
    row = told.one().row("watched_trick")
    assert row.key == (str(trick.pk),)
    assert row.old == {}
    assert row.new == {
        "id": str(trick.pk),
        "organisation_id": str(organisation.pk),
        "author_id": None,
    }

    trick.title = "Two"
    trick.save()
    assert told.one().row("watched_trick").key == (str(trick.pk),)


def test_a_deleted_row_is_told_with_what_it_was(trick: Trick, told: Told) -> None:
    key = str(trick.pk)
    trick.delete()
    row = told.one().row("watched_trick")
    assert row.key == (key,)
    assert row.new == {}
    assert row.old["organisation_id"] == str(trick.organisation_id)


def test_a_row_whose_foreign_key_moved_is_told_with_the_new_one(trick: Trick, told: Told) -> None:
    other = Organisation.objects.create(name="other")
    trick.organisation = other
    trick.save()
    assert told.one().row("watched_trick").new["organisation_id"] == str(other.pk)


def test_a_row_of_which_columns_were_not_loaded_is_told_without_a_query_for_them(
    trick: Trick, told: Told, django_assert_num_queries: object
) -> None:
    partial = Trick.objects.only("title").get(pk=trick.pk)
    with django_assert_num_queries(1):  # type: ignore[operator]
        partial.save()
    assert told.one().row("watched_trick").new == {"id": str(trick.pk)}


def test_a_watched_model_is_saved_with_as_many_queries_as_before(
    trick: Trick, django_assert_num_queries: object
) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        trick.save()


def test_a_pointer_that_the_database_computes_is_not_told(trick: Trick, told: Told) -> None:
    trick.author_id = F("organisation_id")
    Author.objects.create(pk=trick.organisation_id)
    trick.save()
    assert told.one().row("watched_trick").new.get("author_id") in (
        None,
        str(trick.organisation_id),
    )


def test_a_transaction_is_one_tell_after_its_commit(organisation: Organisation, told: Told) -> None:
    with transaction.atomic():
        for number in range(3):
            Trick.objects.create(slug=f"n{number}", title="", organisation=organisation)
            assert told.nothing()
    assert len(told.one().keys("watched_trick")) == 3


def test_a_row_that_changed_twice_in_a_transaction_is_told_once_as_it_is_last(
    trick: Trick, told: Told
) -> None:
    with transaction.atomic():
        for name in ("two", "three"):
            trick.organisation = Organisation.objects.create(name=name)
            trick.save()
    assert told.one().row("watched_trick").new["organisation_id"] == str(trick.organisation_id)


def test_what_is_rolled_back_is_not_told(trick: Trick, told: Told) -> None:
    with rolled_back():
        trick.save()
    assert told.nothing()

    trick.save()
    assert len(told.one().rows) == 1


def test_of_a_savepoint_that_is_rolled_back_nothing_is_told_and_of_the_rest_all(
    organisation: Organisation, told: Told
) -> None:
    made = {
        slug: Trick.objects.create(slug=slug, title="", organisation=organisation)
        for slug in "abcdef"
    }
    told.tells.clear()
    with transaction.atomic():
        made["a"].save()
        with rolled_back():
            made["b"].save()
            with transaction.atomic():
                made["c"].save()
        with transaction.atomic():
            made["d"].save()
            with transaction.atomic(savepoint=False):
                made["e"].save()
        made["f"].save()
    assert told.one().keys("watched_trick") == {(str(made[slug].pk),) for slug in "adef"}


def test_what_is_changed_first_in_a_savepoint_that_is_rolled_back_takes_no_later_change_along(
    trick: Trick, told: Told
) -> None:
    with transaction.atomic():
        with rolled_back():
            trick.save()
        trick.save()
    assert told.one().keys("watched_trick") == {(str(trick.pk),)}


def test_a_callback_of_somebody_else_that_raises_does_not_swallow_the_tell(
    trick: Trick, told: Told
) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    def edit() -> None:
        with transaction.atomic():
            transaction.on_commit(fails)
            with transaction.atomic():
                trick.save()
            trick.save()

    with pytest.raises(ZeroDivisionError):
        edit()
    assert told.one().keys("watched_trick") == {(str(trick.pk),)}


def test_callbacks_of_somebody_else_run_in_their_order_and_behind_the_tell(
    trick: Trick, told: Told
) -> None:
    order = []
    with transaction.atomic():
        transaction.on_commit(lambda: order.append(("first", len(told.tells))))
        trick.save()
        transaction.on_commit(lambda: order.append(("second", len(told.tells))))
    assert order == [("first", 1), ("second", 1)]


def test_a_tell_that_fails_is_logged_and_harms_nobody(
    trick: Trick, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def fails(*_: object) -> str:
        calls.append(1)
        raise ConnectionError("the store is away")

    monkeypatch.setattr(telling, "send", fails)
    with caplog.at_level(logging.ERROR, "chunkflow"):
        trick.title = "Two"
        trick.save()
    assert Trick.objects.get().title == "Two"
    assert "watched_trick" in caplog.text
    assert len(calls) == 2  # It is tried again once.


@pytest.mark.django_db(transaction=True, databases=["postgres"])
def test_what_fails_on_our_side_leaves_the_transaction_of_the_editor_whole(
    told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # After an error PostgreSQL takes no more queries of a transaction.
    there = Organisation.objects.using("postgres").create(name="acme")
    trick = Trick.objects.using("postgres").create(slug="one", title="", organisation=there)
    trick.categories.add(Category.objects.using("postgres").create(slug="a"))
    real = QuerySet.values_list

    def fails(self: QuerySet[Trick], *names: str, **options: object) -> object:
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM watched_trick")
        return real(self, *names, **options)

    with transaction.atomic(using="postgres"):
        with monkeypatch.context() as patched:
            patched.setattr(QuerySet, "values_list", fails)
            trick.categories.clear()
        trick.title = "Two"
        trick.save()
    trick.refresh_from_db()
    assert trick.title == "Two"
    assert not trick.categories.exists()
    assert "a change may not be told" in caplog.text


def test_a_change_in_a_transaction_without_atomic_is_logged_and_not_told(
    trick: Trick, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    transaction.set_autocommit(False)
    try:
        trick.save()
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert told.nothing()
    assert "transaction.atomic()" in caplog.text


def test_a_change_of_one_database_is_told_of_that_one(told: Told) -> None:
    with transaction.atomic(), transaction.atomic(using="other"):
        one = Organisation.objects.create(name="here")
        there = Organisation.objects.using("other").create(name="there")
        Trick.objects.create(slug="here", title="", organisation=one)
        Trick.objects.using("other").create(slug="there", title="", organisation=there)
    assert sorted(tell.aliases for tell in told.tells) == [["default"], ["other"]]
    assert all(len(tell.rows) == 1 for tell in told.tells)


def test_one_database_may_be_committed_and_the_other_rolled_back(told: Told) -> None:
    with transaction.atomic():
        one = Organisation.objects.create(name="here")
        Trick.objects.create(slug="here", title="", organisation=one)
        with rolled_back(using="other"):
            there = Organisation.objects.using("other").create(name="there")
            Trick.objects.using("other").create(slug="there", title="", organisation=there)
    assert told.one().aliases == ["default"]


def test_a_change_is_told_of_each_alias_that_leads_to_a_database_of_that_name(
    trick: Trick, told: Told
) -> None:
    connections.settings["replica"] = connections.settings["default"]
    try:
        trick.save()
    finally:
        del connections.settings["replica"]
    assert told.one().aliases == ["default", "replica"]


def joined(trick: Trick, other: Category | Author | Trick, column: str) -> dict[str, str]:
    return {"trick_id": str(trick.pk), column: str(other.pk)}


def test_rows_that_are_joined_are_told_by_both_their_ends(trick: Trick, told: Told) -> None:
    first, second = Category.objects.create(slug="a"), Category.objects.create(slug="b")
    told.tells.clear()

    trick.categories.add(first)
    row = told.one().row("watched_trick_categories")
    assert (row.old, row.new) == ({}, joined(trick, first, "category_id"))

    second.tricks.add(trick)
    row = told.one().row("watched_trick_categories")
    assert (row.old, row.new) == ({}, joined(trick, second, "category_id"))

    trick.categories.remove(first)
    row = told.one().row("watched_trick_categories")
    assert (row.old, row.new) == (joined(trick, first, "category_id"), {})

    second.tricks.clear()
    row = told.one().row("watched_trick_categories")
    assert (row.old, row.new) == (joined(trick, second, "category_id"), {})

    trick.categories.add(first)
    told.tells.clear()
    trick.categories.set([second])
    went, came = told.one().rows
    assert (went.old, came.new) == (
        joined(trick, first, "category_id"),
        joined(trick, second, "category_id"),
    )


def test_what_is_joined_and_parted_in_one_transaction_is_told_both_times(
    trick: Trick, told: Told
) -> None:
    category = Category.objects.create(slug="a")
    told.tells.clear()
    with transaction.atomic():
        trick.categories.add(category)
        trick.categories.clear()
        trick.categories.add(category)
    rows = told.one().rows
    assert joined(trick, category, "category_id") in [dict(row.new) for row in rows]


def test_both_rows_of_a_relation_that_goes_both_ways_are_told(trick: Trick, told: Told) -> None:
    other = Trick.objects.create(slug="two", title="", organisation=trick.organisation)
    told.tells.clear()
    trick.alike.add(other)
    pairs = [dict(row.new) for row in told.one().rows]
    there = {"from_trick_id": str(trick.pk), "to_trick_id": str(other.pk)}
    back = {"from_trick_id": str(other.pk), "to_trick_id": str(trick.pk)}
    assert pairs == [there, back]
    trick.alike.clear()
    assert [dict(row.old) for row in told.one().rows] == [there, back]


def test_a_row_that_points_to_a_row_of_any_model_is_told_with_its_key(
    trick: Trick, told: Told
) -> None:
    Mark.objects.create(target=trick, name="star")
    assert told.one().row("watched_mark").new["object_id"] == str(trick.pk)


def test_a_join_row_that_is_a_model_is_told_with_the_rows_that_it_joined_and_joins(
    trick: Trick, told: Told
) -> None:
    author = Author.objects.create(name="a")
    other = Trick.objects.create(slug="two", title="", organisation=trick.organisation)
    told.tells.clear()

    trick.sponsors.add(author)
    assert joined(trick, author, "author_id") in [dict(row.new) for row in told.one().rows]

    sponsorship = Sponsorship.objects.get()
    sponsorship.trick = other
    sponsorship.save()
    row = told.one().row("watched_sponsorship")
    assert row.old["trick_id"] == str(trick.pk)
    assert row.new["trick_id"] == str(other.pk)

    sponsorship.delete()
    assert told.one().row("watched_sponsorship").old["trick_id"] == str(other.pk)


def test_with_more_than_ten_thousand_rows_of_a_table_the_table_is_told(
    organisation: Organisation, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "MOST_ROWS", 3)
    category = Category(slug="a")
    with transaction.atomic():
        for number in range(5):
            Trick.objects.create(slug=f"n{number}", title="", organisation=organisation)
        category.save()
    tell = told.one()
    assert tell.tables == ["watched_trick"]
    assert [row.table for row in tell.rows] == ["watched_category"]


def test_a_row_that_is_gone_by_a_cascade_is_told(trick: Trick, told: Told) -> None:
    comment = Comment.objects.create(trick=trick, text="")
    told.tells.clear()
    keys = (str(trick.pk),), (str(comment.pk),)
    trick.organisation.delete()
    tell = told.one()
    assert tell.keys("watched_trick") == {keys[0]}
    assert tell.keys("watched_comment") == {keys[1]}


def test_a_row_that_loses_what_it_points_to_is_told(trick: Trick, told: Told) -> None:
    author = Author.objects.create(name="a")
    trick.author = author
    trick.save()
    told.tells.clear()
    before = str(author.pk)
    author.delete()
    row = told.one().row("watched_trick")
    assert row.key == (str(trick.pk),)
    assert row.old["author_id"] == before


def test_a_row_on_the_way_tells_of_the_rows_that_it_leads_to_before_and_after(
    trick: Trick, told: Told
) -> None:
    other = Trick.objects.create(slug="two", title="", organisation=trick.organisation)
    told.tells.clear()
    vote = Vote.objects.create(trick=trick)
    assert told.one().keys("watched_trick") == {(str(trick.pk),)}

    vote.trick = other
    vote.save()
    assert told.one().keys("watched_trick") == {(str(trick.pk),), (str(other.pk),)}

    vote.delete()
    assert told.one().keys("watched_trick") == {(str(other.pk),)}


def test_a_way_may_have_several_steps_and_lead_nowhere(trick: Trick, told: Told) -> None:
    comment = Comment.objects.create(trick=trick, text="")
    told.tells.clear()
    Note.objects.create(comment=comment)
    assert told.one().keys("watched_trick") == {(str(trick.pk),)}
    Note.objects.create(comment=None)
    assert told.nothing()


def test_a_proxy_is_told_as_its_table(organisation: Organisation, told: Told) -> None:
    lesson = Lesson.objects.create(slug="one", title="", organisation=organisation)
    assert told.one().keys("watched_trick") == {(str(lesson.pk),)}
    lesson.delete()
    assert len(told.one().keys("watched_trick")) == 1


def test_a_row_in_two_tables_is_told_in_both_whichever_model_is_saved(told: Told) -> None:
    restaurant = Restaurant.objects.create(name="r", stars=2)
    key = (str(restaurant.pk),)
    tell = told.one()
    assert tell.keys("watched_place") == tell.keys("watched_restaurant") == {key}
    assert tell.row("watched_restaurant").new == {
        "id": key[0],
        "place_ptr_id": key[0],
    }

    Place.objects.get().save()
    tell = told.one()
    assert tell.keys("watched_place") == tell.keys("watched_restaurant") == {key}

    place = Place.objects.create(name="p")
    tell = told.one()
    assert tell.keys("watched_place") == {(str(place.pk),)}
    assert tell.keys("watched_restaurant") == set()

    restaurant.delete()
    tell = told.one()
    assert tell.keys("watched_place") == tell.keys("watched_restaurant") == {key}


def test_a_class_that_is_made_later_is_watched_with_the_model_that_it_inherits_from(
    organisation: Organisation, told: Told
) -> None:
    meta = type("Meta", (), {"proxy": True, "app_label": "watched"})
    late = type("Late", (Trick,), {"__module__": __name__, "Meta": meta})
    late.objects.create(slug="late", title="", organisation=organisation)
    assert len(told.one().keys("watched_trick")) == 1


def test_a_fixture_is_told_in_one(trick: Trick, told: Told) -> None:
    Category.objects.create(slug="a")
    data = serializers.serialize("json", [*Trick.objects.all(), *Category.objects.all()])
    told.tells.clear()
    with transaction.atomic():
        for one in serializers.deserialize("json", data):
            one.save()
    tell = told.one()
    assert tell.keys("watched_trick") == {(str(trick.pk),)}
    assert len(tell.keys("watched_category")) == 1


def test_what_somebody_says_has_changed_is_told_with_what_it_is_now(
    trick: Trick, told: Told
) -> None:
    changed(Trick, [trick.pk, 999])
    rows = {row.key: row for row in told.one().rows}
    assert rows[(str(trick.pk),)].new["organisation_id"] == str(trick.organisation_id)
    assert rows[("999",)].new == {}

    changed("watched.Trick")
    assert told.one().tables == ["watched_trick"]


def test_a_row_in_place_of_its_model_is_told_in_the_database_that_it_is_of(told: Told) -> None:
    author = Author.objects.using("other").create(name="Ada")
    told.tells.clear()
    changed(author)
    tell = told.one()
    assert (tell.aliases, tell.tables) == (["other"], [])
    assert tell.keys("watched_author") == {(str(author.pk),)}


@pytest.mark.asyncio
async def test_what_is_saved_from_async_code_is_told(told: Told) -> None:
    organisation = await Organisation.objects.acreate(name="a")
    trick = await Trick.objects.acreate(slug="one", title="", organisation=organisation)
    assert told.one().keys("watched_trick") == {(str(trick.pk),)}
    await trick.adelete()
    assert len(told.one().rows) == 1


class Captured(TestCase):
    """In a test of Django's nothing is committed; what would be told is a callback like others."""

    def test_callbacks_that_are_captured_are_those_that_were_added_meanwhile(self) -> None:
        organisation = Organisation.objects.create(name="acme")
        transaction.on_commit(self.fail)
        with self.captureOnCommitCallbacks() as callbacks:
            Trick.objects.create(slug="one", title="", organisation=organisation)
            transaction.on_commit(list)
        assert len(callbacks) == 2
        assert isinstance(callbacks[0], telling.Changes)
        assert callbacks[1] is list
