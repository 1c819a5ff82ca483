"""Tells of what Django's signals say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, router
from django.db.models import CASCADE, DO_NOTHING, PROTECT, RESTRICT, Field, Model
from django.db.models.signals import (
    class_prepared,
    m2m_changed,
    post_delete,
    post_save,
    pre_delete,
    pre_save,
)

from .rows import (
    changed_rows,
    concrete,
    lineage,
    loaded,
    read,
    read_keys,
    text,
    told_fields,
)
from .telling import MOST_ROWS, Row, harmless, note, reading
from .values import primary

AnyModel = type[Model] | str

_SIGNAL_SAYS_IT = (CASCADE, PROTECT, RESTRICT, DO_NOTHING)
"""What happens to rows that point to a deleted one without Django writing them in silence."""


@dataclass(frozen=True)
class Path:
    """A way from a row to rows of another model, by names of fields as in a filter."""

    model: type[Model]
    names: str
    target: type[Model]

    def read(self, instance: Model, using: str) -> list[Row] | None:
        """The rows that it leads to now; `None` if they are too many."""
        fields = told_fields(self.target)
        with reading(using):
            rows = self.model._base_manager.using(using).filter(pk=instance.pk).order_by()
            found = rows.values_list(*(f"{self.names}__{field.attname}" for field in fields))
            found = list(found.distinct()[: MOST_ROWS + 1])
        if len(found) > MOST_ROWS:
            return None

        names = [field.attname for field in fields]
        gone = (dict(zip(names, one, strict=True)) for one in found)
        # Where it leads to nothing, all are NULL.
        return [row for one in gone for row in changed_rows(self.target, using, new=one) or []]


_watched: set[type[Model]] = set()
_paths: dict[type[Model], list[Path]] = {}
_joins: dict[type[Model], Any] = {}
"""The many-to-many fields by the models of their join tables."""
_pointing: dict[type[Model], list[tuple[type[Model], Field[Any, Any]]]] = {}
"""The foreign keys that Django changes, without a signal, when the row that they point to is
deleted: by the model of that row."""


def watch(*models: AnyModel, via: Mapping[AnyModel, str | Iterable[str]] | None = None) -> None:
    """Tells of each change of these models that sends a signal: `save()`, `delete()`, `create()`,
    and what changes many-to-many fields. Call it in `ready()` of an `AppConfig`.

    Lists that show such a row load it again when they are next asked for, after the commit.

    `via` is for rows that lists depend on without showing them, such as votes that are counted:
    `{Vote: "trick"}` says that a change of a vote changes the trick that it points to. The name may
    be a path, `"comment__trick"`, and there may be several. It costs up to two queries for each
    vote that is saved.

    It sees nothing of `QuerySet.update()`, `bulk_create()` and `bulk_update()` (`ChangesManager`
    does), of SQL, of other programs, and of what the database does by itself."""
    for one in models:
        model = _model(one)
        for each in lineage(model):
            if each not in _watched:
                _watched.add(each)
                _follow(each)
    for one, paths in (via or {}).items():
        _follow_paths(_model(one), [paths] if isinstance(paths, str) else list(paths))


def is_watched(model: type[Model]) -> bool:
    """Whether the signals of a model are listened to."""
    return concrete(model) in _watched


def is_any_watched() -> bool:
    """Whether the signals of any model are listened to."""
    return bool(_watched)


def changed(
    model: AnyModel | Model, keys: Iterable[Any] | None = None, using: str | None = None
) -> None:
    """Tells that rows of a model have changed, by their primary keys, after the commit. For what no
    signal says: SQL, other programs. Without `keys`, any row may have changed. Instead of a model
    it takes a row."""
    if isinstance(model, Model):
        keys, using = [model.pk], using or model._state.db
        model = type(model)
    one = _model(model)
    alias = using or router.db_for_write(one) or DEFAULT_DB_ALIAS
    if keys is None:
        note(alias, tables=[each._meta.db_table for each in lineage(one)])
        return

    keys = list(keys)
    if len(keys) > MOST_ROWS:
        note(alias, tables=[each._meta.db_table for each in lineage(one)])
        return

    rows = read_keys(one, keys, alias)
    shown = {row.key for row in rows if row.table == concrete(one)._meta.db_table}
    for each in keys:
        gone = changed_rows(one, alias, old=_by_key(one, each)) or []
        rows += [row for row in gone if row.key not in shown]
    note(alias, rows)


def _by_key(model: type[Model], given: Any) -> dict[str, Any]:
    """A key as values by the names of attributes."""
    parts = given if isinstance(given, tuple) else (given,)
    found: dict[str, Any] = {}
    for each in lineage(model):
        found |= {f.attname: part for f, part in zip(primary(each), parts, strict=True)}
    return found


def _model(one: AnyModel) -> type[Model]:
    return apps.get_model(one) if isinstance(one, str) else one


# What is connected.


def _family(model: type[Model]) -> list[type[Model]]:
    """The classes whose signals speak of rows of a table: its model, its proxies, and what inherits
    from it."""
    known = [one for one in apps.get_models(include_auto_created=True) if issubclass(one, model)]
    return known if model in known else [model, *known]


def _connect(signal: Any, receiver: Callable[..., Any], model: type[Model]) -> None:
    uid = (__name__, receiver.__name__)
    for one in _family(model):
        signal.connect(receiver, sender=one, weak=False, dispatch_uid=(uid, one))
    _later.append((signal, receiver, model, uid))


_later: list[tuple[Any, Callable[..., Any], type[Model], object]] = []
"""What classes that are made later are connected to."""


def _on_class(sender: type[Model], **_: Any) -> None:
    _heirs.cache_clear()
    for signal, receiver, model, uid in _later:
        if issubclass(sender, model):
            signal.connect(receiver, sender=sender, weak=False, dispatch_uid=(uid, sender))


class_prepared.connect(_on_class, dispatch_uid=__name__)


def _follow(model: type[Model]) -> None:
    _connect(post_save, _on_save, model)
    _connect(post_delete, _on_delete, model)

    fields: list[Any] = list(model._meta.many_to_many)
    fields += [one.field for one in model._meta.related_objects if one.many_to_many]
    for field in fields:
        through = field.remote_field.through
        if through not in _joins:
            _joins[through] = field
            uid = (__name__, "_on_join", through)
            m2m_changed.connect(_on_join, sender=through, weak=False, dispatch_uid=uid)
            if not through._meta.auto_created:
                _connect(pre_save, _before_join_row, through)
                _connect(post_save, _on_join_row, through)
                _connect(post_delete, _on_join_row_deleted, through)

    for one in model._meta.concrete_fields:
        if one.remote_field is not None and one.remote_field.on_delete not in _SIGNAL_SAYS_IT:
            related: Any = one.related_model
            to = concrete(related)
            _pointing.setdefault(to, []).append((model, one))
            _connect(pre_delete, _before_target_is_deleted, to)


def _follow_paths(model: type[Model], paths: list[str]) -> None:
    mine = _paths.setdefault(concrete(model), [])
    for names in paths:
        path = Path(concrete(model), names, _target(model, names))
        if path not in mine:
            mine.append(path)

    _connect(pre_save, _before_via, concrete(model))
    _connect(post_save, _on_via, concrete(model))
    _connect(pre_delete, _before_via_is_deleted, concrete(model))


def _target(model: type[Model], names: str) -> type[Model]:
    for name in names.split("__"):
        related: Any = model._meta.get_field(name).related_model
        if related is None or isinstance(related, str):
            raise ValueError(f"`{name}` of {model.__name__} leads to no other model")
        model = related
    return concrete(model)


# Rows of watched models.


@harmless
def _on_save(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    rows = changed_rows(sender, using, new=loaded(instance))
    _note(sender, using, rows and [*rows, *_rows_of_heirs(sender, instance, using)])


@harmless
def _on_delete(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    _note(sender, using, changed_rows(sender, using, old=loaded(instance)))


def _note(model: type[Model], using: str, rows: list[Row] | None) -> None:
    """Tells of rows; where they are not known, any row of the model may have changed."""
    if rows is None:
        note(using, tables=[one._meta.db_table for one in lineage(model)])
    else:
        note(using, rows)


def _rows_of_heirs(sender: type[Model], instance: Model, using: str) -> list[Row]:
    """The rows of watched models that inherit this row. Lists of these show its columns too."""
    rows: list[Row] = []
    for heir in _heirs(concrete(sender)):
        link = heir._meta.get_ancestor_link(concrete(sender))
        if heir in _watched and link is not None and not isinstance(instance, heir):
            rows += read(heir, {link.name: instance.pk}, using) or []
    return rows


@cache
def _heirs(model: type[Model]) -> list[type[Model]]:
    return [one for one in apps.get_models() if model in one._meta.get_parent_list()]


# Rows that Django changes in silence when it deletes the row that they point to.


@harmless
def _before_target_is_deleted(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    for to in lineage(sender):
        for model, field in _pointing.get(to, ()):
            rows = read(model, {field.name: instance}, using)
            _note(model, using, rows and [replace(row, old=row.new, new={}) for row in rows])


# Many to many.


@harmless
def _on_join(
    sender: type[Model],
    instance: Model,
    *,
    action: str,
    reverse: bool,
    pk_set: set[Any] | None,
    using: str,
    **_: Any,
) -> None:
    if action not in ("post_add", "post_remove", "pre_clear"):
        return

    field = _joins[sender]
    here: Any = sender._meta.get_field(field.m2m_field_name())
    there: Any = sender._meta.get_field(field.m2m_reverse_field_name())
    if reverse:
        here, there = there, here
    # The value by which the join row points here: as a rule the key.
    mine = getattr(instance, here.target_field.attname)
    if action == "pre_clear":
        with reading(using):
            rows = sender._base_manager.using(using).filter(**{here.attname: mine}).order_by()
            theirs = list(rows.values_list(there.attname, flat=True)[: MOST_ROWS + 1])
    else:
        theirs = list(pk_set or ())

    if len(theirs) > MOST_ROWS:
        note(using, tables=[sender._meta.db_table])
        return

    pairs = [(here, mine, there, other) for other in theirs]
    if getattr(field.remote_field, "symmetrical", False):
        # Each friend has a row of the other, of which no signal speaks.
        pairs += [(there, mine, here, other) for other in theirs]
    note(using, [_join_row(sender, pair, action == "post_add", using) for pair in pairs])


def _join_row(
    sender: type[Model], pair: tuple[Any, Any, Any, Any], is_new: bool, using: str
) -> Row:
    here, mine, there, other = pair
    columns = {here.column: text(here, mine, using), there.column: text(there, other, using)}
    names = sorted(columns)
    return Row(
        sender._meta.db_table,
        tuple(columns[name] or "" for name in names),
        {} if is_new else columns,
        columns if is_new else {},
        is_joint=True,
    )


_BEFORE = "_chunkflow_before"
"""Where an instance keeps, while it is saved, how its row was."""


@harmless
def _before_join_row(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    """Reads which rows it joined, since these lose it."""
    before: list[Row] | None = []
    if _may_be_there(instance):
        before = read(concrete(sender), {"pk": instance.pk}, using)
    instance.__dict__[_BEFORE] = before


@harmless
def _on_join_row(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    before = {row.table: row.new for row in instance.__dict__.pop(_BEFORE, None) or []}
    rows = changed_rows(sender, using, new=loaded(instance))
    _note(sender, using, rows and [replace(row, old=before.get(row.table, {})) for row in rows])


@harmless
def _on_join_row_deleted(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    _note(sender, using, changed_rows(sender, using, old=loaded(instance)))


def _may_be_there(instance: Model) -> bool:
    """Whether the database may have the row before it is saved."""
    if instance.pk is None:
        return False
    # Django inserts a new instance whose key has a default without looking for it.
    return not (instance._state.adding and instance._meta.pk.has_default())


# Rows that lists depend on without showing them.


@harmless
def _before_via(
    sender: type[Model], instance: Model, using: str, raw: bool = False, **_: Any
) -> None:
    before: list[tuple[Path, list[Row] | None]] = []
    if _may_be_there(instance):
        before = [(path, path.read(instance, using)) for path in _paths_of(sender)]
    instance.__dict__[_BEFORE + "_via"] = before


@harmless
def _on_via(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    before: list[tuple[Path, list[Row] | None]] = instance.__dict__.pop(_BEFORE + "_via", [])
    now = [(path, path.read(instance, using)) for path in _paths_of(sender)]
    _note_paths([*before, *now], using)


@harmless
def _before_via_is_deleted(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    # Django deletes in a transaction, since somebody listens: it is told after the commit.
    _note_paths([(path, path.read(instance, using)) for path in _paths_of(sender)], using)


def _note_paths(led: list[tuple[Path, list[Row] | None]], using: str) -> None:
    rows = [row for _, found in led for row in found or []]
    models = {model for path, found in led if found is None for model in lineage(path.target)}
    note(using, rows, [model._meta.db_table for model in models])


def _paths_of(sender: type[Model]) -> list[Path]:
    return [path for one in lineage(sender) for path in _paths.get(one, ())]
