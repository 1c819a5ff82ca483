"""Rows for the tests, the same at each run."""

from __future__ import annotations

import datetime
import random
import uuid
from decimal import Decimal
from typing import Any

from tricks.models import Author, Category, Comment, Cover, Organisation, Trick

START = datetime.datetime(2026, 1, 1, 8, 30, tzinfo=datetime.timezone.utc)


def tricks(count: int, using: str = "default", seed: int = 7) -> Organisation:
    """An organisation with so many tricks, many of them equal in what they may be sorted by."""
    chance = random.Random(seed)
    organisation = Organisation.objects.using(using).create(name=f"organisation {seed}")
    authors = [
        Author.objects.using(using).create(name=name, born=born)
        for name, born in [("Ada", datetime.date(1815, 12, 10)), ("Grace", None), ("Ada", None)]
    ]
    categories = [
        Category.objects.using(using).get_or_create(slug=slug)[0] for slug in ("a", "b", "c")
    ]

    def maybe(value: Any) -> Any:
        return value if chance.random() < 0.6 else None

    made = [
        Trick(
            organisation=organisation,
            title=chance.choice(["one", "Two", "three", "élan", "", "ß", "日本"]),
            slug=f"trick-{seed}-{at}",
            created=START + datetime.timedelta(minutes=chance.randrange(20)),
            edited=maybe(START + datetime.timedelta(microseconds=chance.randrange(5) * 250_000)),
            rating=maybe(chance.choice([0.1, 1.0, -2.5, 1e300, 3.0000000000000004])),
            price=maybe(Decimal(chance.choice(["0.10", "1.00", "-5.25", "1234567.89"]))),
            length=maybe(datetime.timedelta(days=chance.randrange(-2, 3), microseconds=5)),
            day=maybe(datetime.date(2026, 1, 1 + chance.randrange(5))),
            token=uuid.UUID(int=chance.getrandbits(128), version=4),
            author=maybe(chance.choice(authors)),
        )
        for at in range(count)
    ]
    Trick.objects.using(using).bulk_create(made)
    through = Trick.categories.through
    joined, comments, covers = [], [], []
    for trick in Trick.objects.using(using).filter(organisation=organisation).order_by("id"):
        joined += [
            through(trick_id=trick.pk, category_id=one.pk)
            for one in categories
            if chance.random() < 0.5
        ]
        comments += [
            Comment(trick=trick, text=f"comment {at}") for at in range(chance.randrange(3))
        ]
        if chance.random() < 0.5:
            covers.append(Cover(trick=trick, path=f"{trick.slug}.png"))
    through.objects.using(using).bulk_create(joined)
    Comment.objects.using(using).bulk_create(comments)
    Cover.objects.using(using).bulk_create(covers)
    return organisation
