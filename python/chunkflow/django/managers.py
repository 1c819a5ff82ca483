"""A queryset whose bulk changes are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.db.models import Manager, Model, QuerySet

from .rows import changed_rows, lineage, read_keys, told_fields
from .telling import MOST_ROWS, Row, harmless, note, reading
from .values import primary
from .watch import is_watched

M = TypeVar("M", bound=Model)


class ChangesQuerySet(QuerySet[M]):
    """Tells of `update()`, `delete()`, `bulk_create()` and `bulk_update()`, and of their `a…`
    twins, after the commit. `watch` tells of the rest.

    `update()` and `delete()` read the keys of the rows first, by one query. If there are more than
    10,000, or if the keys cannot be read, all lists that show the model are purged."""

    _is_quiet = False
    """Whether who has called tells."""

    def _clone(self) -> Any:
        clone = super()._clone()  # type: ignore[misc]
        clone._is_quiet = self._is_quiet
        return clone

    def update(self, **kwargs: Any) -> int:
        if self._is_quiet:
            return super().update(**kwargs)

        before = self._rows_now()
        count = super().update(**kwargs)
        self._tell_update(before, count, kwargs)
        return count

    update.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> tuple[int, dict[str, int]]:
        if self._is_quiet or is_watched(self.model):
            return super().delete()

        before = self._rows_now()
        quiet = self._quiet()
        deleted: tuple[int, dict[str, int]] = super(ChangesQuerySet, quiet).delete()
        self._result_cache = None
        self._tell_delete(before, deleted[1].get(self.model._meta.label, 0))
        return deleted

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def _raw_delete(self, using: str | None) -> int:
        """Django deletes rows by it that nothing else depends on, without a signal."""
        if self._is_quiet:
            return super()._raw_delete(using)

        there = self.using(using)
        before = there._rows_now()
        count: int = super()._raw_delete(using)
        there._tell_delete(before, count)
        return count

    _raw_delete.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        objs = list(objs)
        had_keys = any(one.pk is not None for one in objs)
        made = super().bulk_create(objs, *args, **kwargs)
        # A row that was there may be another one than that of the key.
        is_sure = not (kwargs.get("update_conflicts") and had_keys)
        self._tell_instances(made, is_sure)
        return made

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> int:
        objs = tuple(objs)
        # It calls `update()`, which would read the keys that are known here.
        quiet = self._quiet()
        count: int = super(ChangesQuerySet, quiet).bulk_update(objs, *args, **kwargs)
        self._tell_instances(objs, True)
        return count

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    # What is told.

    def _quiet(self) -> Any:
        quiet = self._chain()  # type: ignore[attr-defined]
        quiet._is_quiet = True
        return quiet

    def _rows_now(self) -> list[dict[str, Any]] | None:
        """What is told of the rows; `None` if they are too many, or cannot be read."""
        self._for_write = True
        try:
            with reading(self.db):
                rows = self._chain()  # type: ignore[attr-defined]
                rows.query.clear_ordering(force=True)
                rows.query.select_for_update = False
                names = [field.attname for field in told_fields(self.model)]
                found = list(rows.values(*names)[: MOST_ROWS + 1])
        except Exception:
            # If the queryset is wrong, the change fails too, and says why.
            return None
        return None if len(found) > MOST_ROWS else found

    @harmless
    def _tell_update(
        self, before: list[dict[str, Any]] | None, count: int, changes: Mapping[str, Any]
    ) -> None:
        if not count:
            return

        meta = self.model._meta
        changed = {meta.pk if name == "pk" else meta.get_field(name) for name in changes}
        keys = {field for one in lineage(self.model) for field in primary(one)}
        # Somebody else may have written between the query and the update.
        if before is None or count != len(before) or keys & changed:
            self._tell_tables()
            return

        is_elsewhere = any(one in changed for one in told_fields(self.model))
        rows: list[Row] = []
        for one in before:
            new = {} if is_elsewhere else {"new": one}
            rows += changed_rows(self.model, self.db, old=one, **new) or []
        if is_elsewhere:
            # They point to other rows now.
            rows += read_keys(self.model, [self._key(one) for one in before], self.db)
        note(self.db, rows)

    @harmless
    def _tell_delete(self, before: list[dict[str, Any]] | None, count: int) -> None:
        if not count:
            return
        if before is None or count != len(before):
            self._tell_tables()
            return
        rows = (changed_rows(self.model, self.db, old=one) or [] for one in before)
        note(self.db, [row for several in rows for row in several])

    @harmless
    def _tell_instances(self, instances: Sequence[M], is_sure: bool) -> None:
        keys = [one.pk for one in instances]
        if not is_sure or None in keys or len(keys) > MOST_ROWS:
            self._tell_tables()
            return
        note(self.db, read_keys(self.model, keys, self.db))

    def _key(self, found: Mapping[str, Any]) -> Any:
        parts = tuple(found[field.attname] for field in primary(self.model))
        return parts if len(parts) > 1 else parts[0]

    def _tell_tables(self) -> None:
        note(self.db, tables=[one._meta.db_table for one in lineage(self.model)])


class ChangesManager(Manager.from_queryset(ChangesQuerySet)):  # type: ignore[misc]
    """A manager whose bulk changes are told. `objects = ChangesManager()` in a model.

    With `base_manager_name = "objects"` in the model's `Meta`, what Django changes by itself is
    told too: `organisation.trick_set.add(trick)`."""
