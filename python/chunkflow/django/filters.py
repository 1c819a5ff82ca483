"""Filters: which paths a request may filter by, and its conditions as Q objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from django.core.exceptions import FieldDoesNotExist, FieldError, ValidationError
from django.db import connections, models
from django.db.models import F, Q, Value, functions
from django.db.models.constants import LOOKUP_SEP

from chunkflow._native import Invalid

Operand: TypeAlias = Literal["integer", "number", "text"]
Filters: TypeAlias = "Sequence[str] | Mapping[str, str]"


class Filter:
    """A parameter that a request may have, and the path of fields that it stands for."""

    def __init__(self, name: str, path: str, field: models.Field[Any, Any]) -> None:
        self.name = name
        self.path = path
        self.field = field

    @property
    def operand(self) -> Operand:
        """The syntax of its values."""
        kind = self.field
        if isinstance(kind, models.IntegerField | models.AutoField | models.BigAutoField):
            return "integer"
        if isinstance(kind, models.FloatField | models.DecimalField):
            return "number"
        return "text"

    def value(self, text: str) -> Any:
        """A value as the field has it. Raises `Invalid` for a text that it has not."""
        if isinstance(self.field, models.BooleanField):
            truth = {
                "true": True,
                "t": True,
                "1": True,
                "false": False,
                "f": False,
                "0": False,
            }.get(text.lower())
            if truth is None:
                raise Invalid(f"`{self.name}` is true or false, not `{text}`")
            return truth
        try:
            value = self.field.to_python(text)
        except ValidationError as error:
            raise Invalid(
                f"`{self.name}` cannot be `{text}`: {' '.join(error.messages)}"
            ) from error
        return value


def filters_of(queryset: models.QuerySet[Any], filters: Filters) -> dict[str, Filter]:
    """The filters by the names of their parameters."""
    if isinstance(filters, str):
        raise ValueError(f"`filters` is a list of fields: filters=['{filters}']")
    pairs = dict(filters) if isinstance(filters, Mapping) else {name: name for name in filters}
    return {name: _filter(queryset, name, path) for name, path in pairs.items()}


def _filter(queryset: models.QuerySet[Any], name: str, path: str) -> Filter:
    query = queryset.query
    if path in query.annotations:
        return Filter(name, path, query.annotations[path].output_field)
    try:
        infos, _, targets, rest = query.names_to_path(path.split(LOOKUP_SEP), query.get_meta())
    except (FieldError, FieldDoesNotExist) as error:
        raise ValueError(f"there is nothing named `{path}` to filter by: {error}") from error
    if any(info.m2m for info in infos):
        raise ValueError(
            f"`{path}` has several values for one row, so a filter would double rows; annotate "
            "what is asked for, with Exists(…), and filter by that"
        )
    resolved = F(path).resolve_expression(query.chain(), allow_joins=True, reuse=None)
    field = resolved.output_field if rest else targets[0]
    return Filter(name, path, field)


def narrowed(
    queryset: models.QuerySet[Any], conditions: Sequence[Any], filters: Mapping[str, Filter]
) -> Any:
    """The queryset with a request's conditions."""
    for condition in conditions:
        queryset = queryset.filter(_q(condition, filters, connections[queryset.db].vendor))
    return queryset


def _q(condition: Any, filters: Mapping[str, Filter], vendor: str) -> Any:
    kind = type(condition).__name__
    if kind == "Comparison":
        return _comparison(condition, filters[condition.column], vendor)

    parts = [_q(part, filters, vendor) for part in condition.parts]
    if not parts:
        # Each row meets all of nothing, and none meets any of it.
        return Q() if kind == "AllOf" else Q(pk__in=[])
    whole = Q(parts[0])
    for part in parts[1:]:
        whole = whole & Q(part) if kind == "AllOf" else whole | Q(part)
    return whole


_LOOKUPS = {"eq": "exact", "gt": "gt", "gte": "gte", "lt": "lt", "lte": "lte"}


def _comparison(comparison: Any, found: Filter, vendor: str) -> Any:
    path, operator, texts = found.path, comparison.operator, comparison.values
    there = Q(**{f"{path}__isnull": False})
    if operator == "is.null":
        return Q(**{f"{path}__isnull": True})
    if operator == "is.not_null":
        return there
    if operator.endswith("like"):
        like = Like(path, texts[0], is_blind=operator.endswith("ilike"), vendor=vendor)
        return there & ~Q(like) if operator.startswith("not.") else Q(like)

    values = [found.value(text) for text in texts]
    if operator in _LOOKUPS:
        return Q(**{f"{path}__{_LOOKUPS[operator]}": values[0]})
    if operator == "neq":
        return there & ~Q(**{f"{path}__exact": values[0]})
    if operator == "in":
        return Q(**{f"{path}__in": values})
    if operator == "not.in":
        return there & ~Q(**{f"{path}__in": values}) if values else Q()
    raise ValueError(f"there is no operator `{operator}`")


class Like(models.Func):
    """`path LIKE pattern`, by the database's own rules; `*` stands for `%`, nothing escapes."""

    conditional = True
    output_field = models.BooleanField()

    def __init__(self, path: str, pattern: str, *, is_blind: bool, vendor: str) -> None:
        left: Any = functions.Cast(F(path), models.TextField())
        right: Any = Value(pattern.replace("*", "%"), output_field=models.TextField())
        sign = "LIKE"
        if is_blind and vendor == "postgresql":
            sign = "ILIKE"
        elif is_blind:
            left, right = functions.Lower(left), functions.Lower(right)
        super().__init__(left, right)
        escape = "" if vendor == "sqlite" else " ESCAPE ''"
        self.template = f"(%(expressions)s{escape})"
        self.arg_joiner = f" {sign} "
