"""What a queryset prefetches, each with the queryset that it uses.

A lookup that is only named takes the manager of the related model when it is executed, which is in
another thread. A manager may filter by what only the request's thread knows: the tenant. So its
queryset is made here, in the request, and stands in the key by its SQL.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from django.db import models
from django.db.models.constants import LOOKUP_SEP
from django.db.models.fields import related_descriptors as descriptors

from .canonical import UnseenError
from .known import is_plain
from .picture import picture
from .routes import has_routers, routed

Question = Callable[[], Any]
"""What is asked in each request, since a manager or a router may answer by its thread."""

Answered = tuple[Question, Any]
"""A question with its answer; no answer is `None`."""


@dataclass(frozen=True)
class Step:
    """A relation, as an attribute of a model."""

    model: type[models.Model]
    """The related model."""
    kind: str
    """`one`: the row points to the related one. `back`: it points to the row. `many`: both ways."""
    relation: Any
    """The field, or the relation that it makes on the other side."""
    manager: Any
    """What gives the rows that Django reads where nothing is said."""


@dataclass(frozen=True)
class Prefetched:
    """A lookup with its queryset."""

    lookup: models.Prefetch[Any]
    step: Step | None
    """`None` for a generic foreign key, whose rows may be of any model."""
    parent: str
    """The lookup before it; empty for one of the list's own rows."""
    is_whole: bool
    """Whether it shows every related row: nothing filters or cuts what is related."""

    @property
    def queryset(self) -> models.QuerySet[Any] | None:
        """What it reads, without the condition that it is related."""
        queryset: models.QuerySet[Any] | None = self.lookup.queryset
        return queryset


@cache
def step_of(model: Any, attribute: str) -> Step | None:
    """The relation of an attribute; `None` if it is none that has one model."""
    found = getattr(model, attribute, None)
    if isinstance(found, descriptors.ForwardManyToOneDescriptor):
        related = found.field.remote_field.model
        return Step(related, "one", found.field, related._base_manager)
    if isinstance(found, descriptors.ReverseOneToOneDescriptor):
        related = found.related.related_model
        return Step(related, "back", found.related.field, related._base_manager)
    if isinstance(found, descriptors.ManyToManyDescriptor):
        related = found.rel.related_model if found.reverse else found.rel.model
        return Step(related, "many", found, related._default_manager)
    if isinstance(found, descriptors.ReverseManyToOneDescriptor):
        # That of a generic relation is one of these too.
        related = found.rel.related_model if not _is_generic(found) else found.rel.model
        return Step(related, "back", found.rel.field, related._default_manager)
    return None


def _is_generic(found: Any) -> bool:
    return type(found).__name__ == "ReverseGenericManyToOneDescriptor"


def explicit(
    queryset: models.QuerySet[Any], asked: list[Answered] | None = None
) -> list[Prefetched]:
    """The lookups of a queryset, those that lead to them too, each with its queryset. With the
    same queryset and the same answers to all that was `asked`, one after the other, they are the
    same."""
    out: dict[str, Prefetched] = {}
    asked = [] if asked is None else asked
    for lookup in _given(queryset):
        _add(queryset.model, queryset.db, lookup, out, asked)
    return list(out.values())


def _given(queryset: models.QuerySet[Any]) -> Iterator[models.Prefetch[Any]]:
    held: Any = queryset
    for lookup in held._prefetch_related_lookups:
        yield lookup if isinstance(lookup, models.Prefetch) else models.Prefetch(str(lookup))

    # Rows of `author.books.all()` are given the author as the view holds it, changed or not. They
    # read it instead, so that the rows depend on the database only.
    model: Any = queryset.model
    named = queryset.query.select_related
    for field in held._known_related_objects or {}:
        is_selected = named is True or (isinstance(named, dict) and field.name in named)
        if not is_selected and step_of(model, field.name) is not None:
            yield models.Prefetch(field.name)


def _add(
    model: Any,
    using: str,
    lookup: models.Prefetch[Any],
    out: dict[str, Prefetched],
    asked: list[Answered],
) -> None:
    if type(lookup) is not models.Prefetch:
        raise UnseenError(
            f"nobody can say what a {type(lookup).__name__} reads", "use Prefetch with a queryset"
        )

    through = lookup.prefetch_through.split(LOOKUP_SEP)
    to = lookup.prefetch_to.split(LOOKUP_SEP)
    parent = ""
    for level, attribute in enumerate(through):
        place = LOOKUP_SEP.join(to[: level + 1])
        is_last = level == len(through) - 1
        if place in out and not (is_last and lookup.queryset is not None):
            known = out[place]
            if known.step is None:
                raise UnseenError(
                    f"nobody can say what `{lookup.prefetch_through}` reads",
                    "leave the generic part out",
                )
            parent, model = place, known.step.model
            continue

        step = step_of(model, attribute)
        given = lookup.queryset if is_last else None
        if step is None:
            if not is_last:
                raise UnseenError(
                    f"nobody can say what `{lookup.prefetch_through}` reads",
                    "leave the generic part out",
                )
            out[place] = Prefetched(lookup, None, parent, False)
            return

        reads: Any = step.manager.all() if given is None else given
        if given is None and not is_plain(step.manager):
            asked.append((partial(_answer_of, step.manager), _answer(reads)))
        if reads._db is None:
            # Routers are asked in the request's thread.
            above = out[parent].queryset if parent else None
            ask = partial(routed, step.model, model, using if above is None else above.db)
            found = ask()
            reads = reads.using(found)
            if has_routers():
                asked.append((ask, found))
        reads = _whole(reads, asked)
        made = models.Prefetch(LOOKUP_SEP.join(through[: level + 1]), queryset=reads)
        if is_last:
            made.to_attr = lookup.to_attr
        made.prefetch_to = place
        is_whole = not reads.query.where and not reads.query.is_sliced and not reads.query.distinct
        out[place] = Prefetched(made, step, parent, is_whole)
        parent, model = place, step.model


def _answer_of(manager: Any) -> Any:
    return _answer(manager.all())


def _answer(queryset: models.QuerySet[Any]) -> Any:
    """What a manager has said, in a form to be compared."""
    drawn = picture(queryset)
    return None if drawn is None else (len(drawn), hashlib.blake2b(drawn, digest_size=16).digest())


def _whole(queryset: models.QuerySet[Any], asked: list[Answered]) -> models.QuerySet[Any]:
    """A queryset whose own lookups have their querysets too."""
    inner = explicit(queryset, asked)
    held: Any = queryset
    made: Any = held._chain()
    made._known_related_objects = {}
    made._prefetch_related_lookups = tuple(one.lookup for one in inner)
    whole: models.QuerySet[Any] = made
    return whole


def fresh(lookups: Iterable[Prefetched]) -> list[models.Prefetch[Any]]:
    """The lookups for one use: Django keeps the first row that they were used for."""
    return [_fresh(one.lookup) for one in lookups]


def _fresh(lookup: models.Prefetch[Any]) -> models.Prefetch[Any]:
    made = copy.copy(lookup)
    if made.queryset is not None:
        made.queryset = _fresh_queryset(made.queryset)
    return made


def _fresh_queryset(queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
    held: Any = queryset
    made: Any = held._chain()
    inner: Sequence[Any] = made._prefetch_related_lookups
    made._prefetch_related_lookups = tuple(_fresh(one) for one in inner)
    one_use: models.QuerySet[Any] = made
    return one_use
