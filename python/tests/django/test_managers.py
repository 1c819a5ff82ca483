"""What a queryset with `ChangesQuerySet` tells of its bulk changes."""

from __future__ import annotations

import pytest
from django.db import models, transaction
from django.db.models import F, QuerySet
from told import Told, rolled_back
from watched.models import Author, Category, Item, Organisation, Trick

from chunkflow.django import managers, telling

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    one = Told()
    monkeypatch.setattr(telling, "send", one.send)
    return one


@pytest.fixture
def items(told: Told) -> list[Item]:
    organisation = Organisation.objects.create(name="acme")
    items = [
        Item.objects.create(name=f"n{at}", rank=at, organisation=organisation) for at in range(5)
    ]
    told.tells.clear()
    return items


def keys(items: list[Item]) -> set[tuple[str]]:
    return {(str(item.pk),) for item in items}


def test_update_tells_the_rows_that_it_changed(items: list[Item], told: Told) -> None:
    assert Item.objects.filter(rank__gte=3).update(rank=F("rank") + 10) == 2
    tell = told.one()
    assert tell.keys("watched_item") == keys(items[3:])
    assert tell.tables == []


def test_update_tells_rows_that_its_own_change_takes_out_of_the_queryset(
    items: list[Item], told: Told
) -> None:
    Item.objects.filter(rank=3).update(rank=0)
    assert told.one().keys("watched_item") == keys(items[3:4])


def test_update_of_a_foreign_key_tells_what_it_was_and_is(items: list[Item], told: Told) -> None:
    before, now = str(items[0].organisation_id), Organisation.objects.create(name="other")
    Item.objects.filter(pk=items[0].pk).update(organisation=now)
    row = told.one().row("watched_item")
    assert (row.old["organisation_id"], row.new["organisation_id"]) == (before, str(now.pk))


def test_update_that_finds_nothing_tells_nothing(items: list[Item], told: Told) -> None:
    assert Item.objects.filter(rank=99).update(rank=1) == 0
    assert told.nothing()


def test_update_of_a_key_tells_the_table(items: list[Item], told: Told) -> None:
    Item.objects.filter(pk=items[0].pk).update(id=77)
    assert told.one().tables == ["watched_item"]


def test_update_of_too_many_rows_tells_the_table(
    items: list[Item], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managers, "MOST_ROWS", 3)
    Item.objects.filter(rank__lt=3).update(rank=1)
    assert told.one().keys("watched_item") == keys(items[:3])
    Item.objects.update(rank=1)
    assert told.one().tables == ["watched_item"]


def test_update_tells_the_table_if_the_rows_cannot_be_read(
    items: list[Item], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    with transaction.atomic(), monkeypatch.context() as patched:
        patched.setattr(QuerySet, "values", fails)
        Item.objects.update(rank=1)
    tell = told.one()
    assert (tell.rows, tell.tables) == ([], ["watched_item"])


def test_update_tells_the_table_if_somebody_else_wrote_between_the_query_and_the_update(
    items: list[Item], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = managers.ChangesQuerySet._rows_now

    def interrupted(self: managers.ChangesQuerySet[Item]) -> object:
        found = real(self)
        Item._base_manager.filter(pk=items[0].pk).update(rank=7)
        return found

    monkeypatch.setattr(managers.ChangesQuerySet, "_rows_now", interrupted)
    Item.objects.filter(rank__gte=3).update(name=F("name"))
    assert told.one().tables == ["watched_item"]


def test_update_is_told_after_the_commit_and_never_after_a_rollback(
    items: list[Item], told: Told
) -> None:
    with transaction.atomic():
        Item.objects.update(rank=1)
        assert told.nothing()
    assert told.one().keys("watched_item") == keys(items)

    with rolled_back():
        Item.objects.update(rank=2)
    assert told.nothing()


def test_update_of_another_database_is_told_of_that_one(told: Told) -> None:
    organisation = Organisation.objects.using("other").create(name="there")
    Item.objects.using("other").create(name="n", organisation=organisation)
    Item.objects.using("other").update(rank=1)
    assert told.one().aliases == ["other"]


def test_an_update_that_fails_fails_as_before_and_tells_nothing(
    items: list[Item], told: Told
) -> None:
    with pytest.raises(TypeError, match="slice"):
        Item.objects.all()[:2].update(rank=1)
    assert told.nothing()


def test_delete_tells_the_rows_of_a_model_that_is_not_watched(
    items: list[Item], told: Told
) -> None:
    assert Item.objects.filter(rank__gte=3).delete()[0] == 2
    assert told.one().keys("watched_item") == keys(items[3:])


def test_delete_tells_each_row_of_a_watched_model_once(told: Told) -> None:
    organisation = Organisation.objects.create(name="acme")
    for at in range(3):
        Trick.objects.create(slug=f"n{at}", title="", organisation=organisation)
    told.tells.clear()
    Trick.objects.all().delete()
    assert len(told.one().rows) == 3


def test_bulk_create_tells_the_rows_that_it_made(items: list[Item], told: Told) -> None:
    organisation = items[0].organisation
    made = Item.objects.bulk_create(
        [Item(name=f"b{at}", organisation=organisation) for at in range(3)]
    )
    tell = told.one()
    assert tell.keys("watched_item") == keys(made)
    assert tell.rows[0].new["organisation_id"] == str(organisation.pk)


def test_bulk_create_tells_the_table_if_it_does_not_know_the_keys(
    items: list[Item], told: Told
) -> None:
    organisation = items[0].organisation
    new = [Item(name="b", organisation=organisation)]
    Item.objects.bulk_create(new, ignore_conflicts=True)
    assert told.one().tables == ["watched_item"]

    # The row with this name has another key.
    new = [Item(pk=77, name="n1", rank=9, organisation=organisation)]
    Item.objects.bulk_create(
        new, update_conflicts=True, update_fields=["rank"], unique_fields=["name"]
    )
    assert told.one().tables == ["watched_item"]


def test_bulk_update_tells_its_rows_by_one_query_more(
    items: list[Item], told: Told, django_assert_num_queries: object
) -> None:
    for item in items[:3]:
        item.rank += 10
    # Two updates in a transaction, and ours.
    with django_assert_num_queries(5):  # type: ignore[operator]
        assert Item.objects.bulk_update(items[:3], ["rank"], batch_size=2) == 3
    assert told.one().keys("watched_item") == keys(items[:3])


@pytest.mark.asyncio
async def test_the_twins_for_async_code_tell_too(told: Told) -> None:
    organisation = await Organisation.objects.acreate(name="acme")
    (item,) = await Item.objects.abulk_create([Item(name="n", organisation=organisation)])
    assert told.one().keys("watched_item") == keys([item])
    await Item.objects.aupdate(rank=1)
    assert told.one().keys("watched_item") == keys([item])
    await Item.objects.abulk_update([item], ["rank"])
    assert told.one().keys("watched_item") == keys([item])
    await Item.objects.filter(pk=item.pk).adelete()
    assert told.one().keys("watched_item") == keys([item])


def test_what_a_relation_updates_in_bulk_is_told_where_it_is_the_base_manager(told: Told) -> None:
    organisation, other = (Organisation.objects.create(name=name) for name in "ab")
    trick = Trick.objects.create(slug="one", title="", organisation=organisation)
    told.tells.clear()

    # Django does it by an update with the model's base manager.
    other.tricks.add(trick)
    row = told.one().row("watched_trick")
    assert (row.old["organisation_id"], row.new["organisation_id"]) == (
        str(organisation.pk),
        str(other.pk),
    )

    author = Author.objects.create(name="a")
    author.trick_set.set([trick])
    told.tells.clear()
    author.trick_set.clear()
    assert told.one().keys("watched_trick") == {(str(trick.pk),)}


def test_a_plain_manager_of_the_same_model_is_not_seen(told: Told) -> None:
    organisation = Organisation.objects.create(name="a")
    Trick.objects.create(slug="one", title="", organisation=organisation)
    told.tells.clear()
    Trick.plain.update(title="x")
    assert told.nothing()


def test_a_queryset_of_one_s_own_keeps_its_methods_and_tells(told: Told) -> None:
    organisation = Organisation.objects.create(name="a")
    Trick.objects.create(slug="one", title="", organisation=organisation)
    told.tells.clear()
    assert Trick.objects.published().update(title="x") == 1
    assert len(told.one().rows) == 1
    assert issubclass(managers.ChangesManager, models.Manager)
    assert not Category.objects.none().update(slug="x")
