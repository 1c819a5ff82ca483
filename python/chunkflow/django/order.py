"""The order in which rows are read, and the condition for the rows behind one.

The rows behind the key `(x, y)` in the order `(a, b)` are two ranges, one after the other:
`a = x AND b > y`, then `a > x`. An index on `(a, b)` answers each without reading a row in vain,
for any mix of directions; it cannot for the usual `a > x OR (a = x AND b > y)`. Where all columns
go one way and none can be NULL, PostgreSQL and SQLite answer `(a, b) > (x, y)` by one range.
NULL comes where the database sorts it, or where the order says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from django.core.exceptions import FieldDoesNotExist, FieldError, ValidationError
from django.db import connections, models
from django.db.models import F, Q, expressions, functions
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Combinable, OrderBy

from chunkflow._native import Invalid

from . import joins
from .canonical import digest
from .values import Key, OrderError, scalar, value_of

Order: TypeAlias = "str | Sequence[str | Combinable | OrderBy] | Combinable | OrderBy | None"

PREFIX = "_chunkflow_"
"""How the annotations begin that hold key values which no attribute of a row holds."""


@dataclass(frozen=True)
class Column:
    """A column of the order."""

    name: str
    """Its own column in the database, or the path to another."""
    path: str
    """What a filter calls it: a path of fields, or an annotation."""
    expression: Any
    """What is sorted by."""
    field: models.Field[Any, Any]
    descending: bool
    nulls_first: bool
    nullable: bool
    is_own: bool
    """Whether it is a column of the model's own table."""
    says_nulls: bool
    """Whether the order itself says where NULL comes."""
    holder: str | None
    """The attribute or member of a row that holds the value; `None`: it has to be annotated."""

    def sorting(self) -> OrderBy:
        """It as Django's `order_by` takes it."""
        first = True if self.says_nulls and self.nulls_first else None
        last = True if self.says_nulls and not self.nulls_first else None
        return OrderBy(
            self.expression, descending=self.descending, nulls_first=first, nulls_last=last
        )


class Keyset:
    """A queryset's rows in a total order."""

    def __init__(self, queryset: models.QuerySet[Any], order: Order = None) -> None:
        self.warnings: list[str] = []
        refuse(queryset)
        columns = list(_columns(queryset, order, self.warnings))
        # With this a row's place is certain: no two rows have the same key.
        columns.extend(_ties(queryset, columns))
        for column in columns:
            if isinstance(column.field, _SHAPELESS) or _is_of_postgres(column.field):
                raise OrderError(
                    f"from a {type(column.field).__name__} as `{column.name}` nothing can be read on; "
                    "annotate what is meant, with Cast(…), and order by that"
                )
        if not columns:
            raise OrderError("the rows have no column to be ordered by; add one to `values()`")

        annotated: dict[str, Any] = {}
        self.columns: list[Column] = []
        for index, column in enumerate(columns):
            if column.holder is not None:
                self.columns.append(column)
                continue
            holder = f"{PREFIX}{index}"
            annotated[holder] = column.expression
            plain = LOOKUP_SEP in column.path or column.is_own
            path = column.path if plain else holder
            self.columns.append(replace(column, holder=holder, path=path))

        # The order says itself what `reverse()` has turned round.
        held: Any = queryset
        queryset = held._chain()
        queryset.query.standard_ordering = True
        # Rows of `author.books.all()` would be given the author as the view holds it.
        held = queryset
        held._known_related_objects = {}
        queryset = queryset.order_by(*[column.sorting() for column in self.columns])
        self.queryset = queryset.annotate(**annotated) if annotated else queryset
        self._gives_dicts = is_values(queryset)
        self._added = tuple(annotated)
        self._compares_rows = (
            connections[queryset.db].vendor in ("postgresql", "sqlite")
            and len(columns) > 1
            and len({column.descending for column in columns}) == 1
            and all(column.is_own and not column.nullable for column in columns)
        )

    def names(self) -> list[str]:
        """The columns for the library, `-` before a descending one."""
        return [("-" if column.descending else "") + column.name for column in self.columns]

    def read(
        self,
        after: Key | None,
        limit: int,
        narrow: Callable[[Any], Any] = lambda queryset: queryset,
    ) -> list[Any]:
        """At most `limit` rows behind a key, without their prefetches."""
        queryset = narrow(self.queryset.prefetch_related(None))
        if after is None:
            return list(queryset[:limit])

        rows: list[Any] = []
        for condition in self.ranges(self._decoded(after)):
            rows.extend(queryset.filter(condition)[: limit - len(rows)])
            if len(rows) >= limit:
                break
        return rows

    def key(self, row: Any) -> Key:
        """The key of a row."""
        return tuple(scalar(column.field, self._value(row, column)) for column in self.columns)

    def bare(self, row: Any) -> Any:
        """A row of `values()` without the members that only the key needs."""
        if self._gives_dicts:
            for name in self._added:
                del row[name]
        return row

    def ranges(self, after: Sequence[Any]) -> Iterator[Any]:
        """The conditions for the rows behind these values, one range after the other."""
        if self._compares_rows:
            yield RowBeyond(self.columns, after)
            return
        for at in reversed(range(len(self.columns))):
            same = [
                _equal(column, value)
                for column, value in zip(self.columns[:at], after, strict=False)
            ]
            for beyond in _beyond(self.columns[at], after[at]):
                yield Q(*same, beyond)

    def _value(self, row: Any, column: Column) -> Any:
        holder = str(column.holder)
        return row[holder] if self._gives_dicts else getattr(row, holder)

    def _decoded(self, key: Key) -> list[Any]:
        if len(key) != len(self.columns):
            raise ValueError("a key has other columns than the order")
        try:
            found = [
                value_of(column.field, value)
                for column, value in zip(self.columns, key, strict=True)
            ]
            features: Any = connections[self.queryset.db].features
            if features.prohibits_null_characters_in_text_exception and _has_null(found):
                raise ValueError("a text of this database has no NUL")
            return found
        except (ArithmeticError, TypeError, ValueError, ValidationError) as error:
            raise Invalid("`after` holds a value that no row of this list can have") from error


class RowBeyond(models.Func):
    """`(a, b) > (x, y)`, or `<`."""

    conditional = True
    output_field = models.BooleanField()

    def __init__(self, columns: Sequence[Column], values: Sequence[Any]) -> None:
        pairs = zip(columns, values, strict=True)
        bound = [models.Value(value, output_field=column.field) for column, value in pairs]
        super().__init__(*[F(column.path) for column in columns], *bound)
        self.sign = "<" if columns[0].descending else ">"

    def as_sql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, Any]:  # type: ignore[override]
        parts = [compiler.compile(one) for one in self.source_expressions]
        half = len(parts) // 2
        left = ", ".join(sql for sql, _ in parts[:half])
        right = ", ".join(sql for sql, _ in parts[half:])
        return f"({left}) {self.sign} ({right})", [param for _, params in parts for param in params]


_SHAPELESS = (models.JSONField,)


def _is_of_postgres(field: Any) -> bool:
    """Whether its values are arrays, ranges or dicts. Texts without case are texts."""
    return type(field).__module__.startswith("django.contrib.postgres") and not isinstance(
        field, models.CharField | models.TextField
    )


def refuse(queryset: models.QuerySet[Any]) -> None:
    """Raises `OrderError` for a queryset that cannot be read on from a row."""
    query = queryset.query
    if query.is_sliced:
        raise OrderError(
            "the queryset is sliced, so it cannot be read on from a row; "
            "leave the slice out: the client says `?limit=`"
        )
    if query.combinator:
        raise OrderError(
            f"a {query.combinator} of querysets cannot be filtered; "
            "write one queryset with `|` or Q objects, or filter by `pk__in=`"
        )
    if query.distinct_fields:
        raise OrderError(
            "distinct() with fields shows another row of a group when it is read on; "
            "filter by a subquery: `pk__in=….distinct(…).values('pk')`"
        )
    if query.extra_order_by:
        raise OrderError("extra(order_by=…) cannot be read on from a row; use order_by()")
    if query.select_for_update:
        raise OrderError("select_for_update() locks rows that nobody will change; leave it out")
    iterable = queryset._iterable_class.__name__
    if iterable not in ("ModelIterable", "ValuesIterable"):
        raise OrderError("values_list() gives rows without names; use values()")
    _refuse_windows(query)
    _refuse_doubles(queryset)


def _refuse_windows(query: models.sql.Query) -> None:
    """Each run of rows is a query of its own, so a window would begin again in each."""
    selected = {name: sql for name, (sql, _) in query.extra.items()}
    found = [name for name, one in query.annotations.items() if _has_window(one)]
    found += [name for name, sql in selected.items() if _is_over(sql)]
    if found:
        raise OrderError(
            f"`{found[0]}` is computed by a window function, which begins again in each run of "
            "rows; compute it in a Subquery, in a view of the database, or in a column of the model"
        )


def _has_window(expression: Any) -> bool:
    """Whether a window of the query's own rows is in an expression."""
    if expression is None or isinstance(expression, models.Subquery | models.sql.Query):
        return False
    if isinstance(expression, expressions.Window):
        return True
    extra = getattr(expression, "extra", None)
    written = [
        getattr(expression, "sql", None),
        getattr(expression, "template", None),
        extra.get("template") if isinstance(extra, dict) else None,
    ]
    if any(isinstance(one, str) and _is_over(one) for one in written):
        return True
    return any(map(_has_window, getattr(expression, "get_source_expressions", list)()))


_WORDS = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\*.*?\*/|\w+|[()]", re.DOTALL)


def _is_over(sql: str) -> bool:
    """Whether SQL has a window, other than in a query within it."""
    words = [word.upper() for word in _WORDS.findall(sql) if not word.startswith(("--", "/*"))]
    within: list[bool] = []
    for at, word in enumerate(words):
        if word == "(":
            within.append(words[at + 1 : at + 2] in (["SELECT"], ["WITH"], ["VALUES"]))
        elif word == ")" and within:
            within.pop()
        elif word == "OVER" and not any(within):
            return True
    return False


def _refuse_doubles(queryset: models.QuerySet[Any]) -> None:
    """A row that is there twice has one key, and one of the two would be lost between two runs."""
    query = queryset.query
    is_told_apart = is_values(queryset) and (query.distinct or query.group_by is not None)
    if is_told_apart and not query.extra_tables:
        # By all its values.
        return
    aliases = joins.several(query)
    tables = [join.table_name for alias, join in query.alias_map.items() if alias in aliases]
    # Of a relation's two joins the one that has a name for the reader.
    table = tables[-1] if tables else None
    if query.extra_tables and not query.distinct:
        table = query.extra_tables[0]
    if table is None:
        return
    if query.distinct or query.group_by is not None:
        shown = [name for name, one in query.annotation_select.items() if joins.reads(one, aliases)]
        if shown:
            raise OrderError(
                f"`{shown[0]}` has several values for one row, so the row is there once for each; "
                "annotate one of them, by an aggregate or a Subquery, or prefetch them"
            )
        return
    raise OrderError(
        f"a row may be joined to several of `{table}`, and is there once for each; add "
        "`.distinct()`, or filter by `Exists(…)`, and prefetch what is shown of them"
    )


def is_values(queryset: models.QuerySet[Any]) -> bool:
    """Whether its rows are dicts."""
    return queryset._iterable_class.__name__ == "ValuesIterable"


def is_grouped(queryset: models.QuerySet[Any]) -> bool:
    """Whether a row stands for several of the table, as in `values().annotate(Count())`."""
    return isinstance(queryset.query.group_by, tuple) and is_values(queryset)


def _columns(queryset: models.QuerySet[Any], order: Order, warnings: list[str]) -> Iterator[Column]:
    query = queryset.query
    options = query.get_meta()
    terms: Sequence[Any]
    if order is not None:
        terms = [order] if isinstance(order, str) or not isinstance(order, Sequence) else order
    elif query.order_by:
        terms = query.order_by
    elif not query.default_ordering or not options.ordering:
        terms = ()
    elif query.group_by is not None:
        warnings.append(
            f"Django leaves Meta.ordering of {options.label} out where rows are aggregated, so they "
            "come by their key; say order_by() or order="
        )
        terms = ()
    else:
        terms = options.ordering

    seen: set[str] = set()
    flipped = order is None and not query.standard_ordering
    for term in terms:
        for column in _term(queryset, term, flipped):
            if column.path not in seen:
                seen.add(column.path)
                yield column


def _term(queryset: models.QuerySet[Any], term: Any, flipped: bool) -> Iterator[Column]:
    """The columns of one term of an order."""
    if isinstance(term, str):
        if term == "?":
            raise OrderError("a random order cannot be read on from a row; order by a column")
        path = term.lstrip("+-")
        yield from _path(queryset, path, term.startswith("-") != flipped, ())
        return

    if not hasattr(term, "resolve_expression"):
        raise OrderError(f"{term!r} is nothing to order by")
    sorting = term if isinstance(term, OrderBy) else term.asc()
    descending = sorting.descending != flipped
    first = True if sorting.nulls_first else False if sorting.nulls_last else None
    first = first if first is None or not flipped else not first

    expression: Any = sorting.expression
    if isinstance(expression, F):
        for column in _path(queryset, _name(expression), descending, (), is_field=True):
            is_said = first is not None
            yield replace(
                column,
                nulls_first=column.nulls_first if first is None else first,
                says_nulls=is_said,
            )
        return

    _walkable(queryset, expression)
    resolved = expression.resolve_expression(queryset.query.chain(), allow_joins=True, reuse=None)
    yield Column(
        name=f"{type(expression).__name__.lower()}_{_digits(queryset, resolved)}",
        path=f"{PREFIX}{_digits(queryset, resolved)}",
        expression=expression,
        field=_output(resolved, expression),
        descending=descending,
        nulls_first=_nulls_first(queryset, descending) if first is None else first,
        nullable=True,
        is_own=False,
        says_nulls=first is not None,
        holder=None,
    )


def _path(
    queryset: models.QuerySet[Any],
    path: str,
    descending: bool,
    within: tuple[Any, ...],
    is_field: bool = False,
) -> Iterator[Column]:
    """The columns of a path of fields or of an annotation."""
    query = queryset.query
    options = query.get_meta()
    shared = {
        "descending": descending,
        "nulls_first": _nulls_first(queryset, descending),
        "says_nulls": False,
    }
    expression: Any
    if path in query.annotations:
        expression = query.annotations[path]
        _walkable(queryset, expression)
        yield Column(
            name=path,
            path=path,
            expression=F(path),
            field=_output(expression, path),
            nullable=True,
            is_own=False,
            holder=path if path in query.annotation_select else None,
            **shared,
        )
        return

    try:
        infos, final, targets, rest = query.names_to_path(path.split(LOOKUP_SEP), options)
    except (FieldError, FieldDoesNotExist) as error:
        if path in queryset.query.extra:
            raise OrderError(
                f"`{path}` is a column of extra(select=…), from which nothing can be read on; annotate "
                f"it, `.annotate({path}=…)`, by an expression of django.db.models.functions"
            ) from error
        raise OrderError(f"there is nothing named `{path}` to order by: {error}") from error
    parts = getattr(final, "fields", None)
    if parts and getattr(final, "column", None) is None:
        # A primary key of several columns.
        prefix = path.rpartition(LOOKUP_SEP)[0]
        for field in parts:
            inner = f"{prefix}{LOOKUP_SEP}{field.attname}" if prefix else field.attname
            yield from _path(queryset, inner, descending, within, is_field=True)
        return
    if any(info.m2m for info in infos):
        raise OrderError(
            f"`{path}` has several values for one row, so the order is not one of rows; annotate one "
            "of them: "
            f"`.annotate(first=Min('{path}')).order_by('first')`"
        )

    if rest:
        expression = F(path)
        resolved = expression.resolve_expression(query.chain(), allow_joins=True, reuse=None)
        yield Column(
            name=path,
            path=path,
            expression=expression,
            field=_output(resolved, path),
            nullable=True,
            is_own=False,
            holder=None,
            **shared,
        )
        return

    last = path.rpartition(LOOKUP_SEP)[2]
    related = getattr(final, "remote_field", None) is not None and final.is_relation
    by_related = related and last not in ("pk", final.attname) and not is_field
    if by_related and infos and infos[-1].to_opts.ordering:
        # As Django does: a relation is sorted as its model is.
        target = infos[-1].to_opts
        if final in within:
            raise OrderError(f"the order of `{path}` leads back to itself; name a column of it")
        for term in target.ordering:
            if not isinstance(term, str):
                raise OrderError(
                    f"`{path}` is sorted by an expression of {target.label}; name a column of it"
                )
            inner = f"{path}{LOOKUP_SEP}{term.lstrip('+-')}"
            yield from _path(queryset, inner, descending != term.startswith("-"), (*within, final))
        return

    nullable = _may_be_missing(infos)
    for target in targets:
        yield _of_field(queryset, path, infos, final, target, nullable, shared)


def _of_field(
    queryset: models.QuerySet[Any],
    path: str,
    infos: Sequence[Any],
    final: Any,
    target: Any,
    nullable: bool,
    shared: dict[str, Any],
) -> Column:
    """The column of a field, of the model itself or of a row that it points to."""
    options = queryset.query.get_meta()
    # The key of a row that is pointed to stands in the foreign key too.
    concrete = final if getattr(final, "concrete", False) and final.column is not None else target
    prefix = path.rpartition(LOOKUP_SEP)[0]
    is_pointer = concrete is final and final.is_relation
    depth = len(infos) - (1 if is_pointer else 0)
    leaf = path.rpartition(LOOKUP_SEP)[2]
    name = concrete.attname if leaf != "pk" or not prefix else leaf
    full = f"{prefix}{LOOKUP_SEP}{name}" if prefix else concrete.attname
    is_own = depth == 0 and concrete.model._meta.concrete_model is options.concrete_model

    value = target if is_pointer else concrete
    return Column(
        name=concrete.column if is_own else full,
        path=full,
        expression=F(full),
        field=value,
        nullable=concrete.null or (nullable and depth > 0),
        is_own=is_own,
        holder=_holder(queryset, concrete, full) if depth == 0 else _member(queryset, full),
        **shared,
    )


def _holder(queryset: models.QuerySet[Any], field: Any, path: str) -> str | None:
    """The attribute of a row that holds a field, if it is loaded; or the member of a dict."""
    if is_values(queryset):
        return _member(queryset, path) or _member(queryset, field.name)
    names, is_deferred = queryset.query.deferred_loading
    if not names or field.primary_key:
        return str(field.attname)
    is_named = field.name in names or field.attname in names
    return str(field.attname) if is_named != is_deferred else None


def _member(queryset: models.QuerySet[Any], path: str) -> str | None:
    """The member of a row of `values()` that is this path."""
    return path if is_values(queryset) and path in queryset.query.values_select else None


def _may_be_missing(infos: Sequence[Any]) -> bool:
    """Whether a row at the end of a path may be missing."""
    return any(not info.direct or getattr(info.join_field, "null", True) for info in infos)


def _ties(queryset: models.QuerySet[Any], columns: Sequence[Column]) -> Iterator[Column]:
    """The columns that tell apart rows which are equal in the others."""
    query = queryset.query
    descending = bool(columns) and columns[-1].descending
    seen = {column.path for column in columns}
    names: list[str]
    if is_grouped(queryset) or (is_values(queryset) and query.distinct):
        names = [*query.values_select]
        for name, annotation in query.annotation_select.items():
            if query.distinct or not annotation.contains_aggregate:
                names.append(name)
    else:
        names = [field.attname for field in _primary(query.get_meta())]

    for name in names:
        for column in _path(queryset, name, descending, (), is_field=True):
            if column.path not in seen:
                seen.add(column.path)
                yield column


def _primary(options: Any) -> list[Any]:
    """The fields of the primary key."""
    return list(getattr(options, "pk_fields", None) or [options.pk])


def _nulls_first(queryset: models.QuerySet[Any], descending: bool) -> bool:
    """Whether NULL comes first where the order does not say it."""
    return bool(connections[queryset.db].features.order_by_nulls_first) != descending


def _has_null(values: Sequence[Any]) -> bool:
    return any(isinstance(value, str) and "\0" in value for value in values)


def _equal(column: Column, value: Any) -> Q:
    return (
        Q(**{f"{column.path}__isnull": True})
        if value is None
        else Q(**{f"{column.path}__exact": value})
    )


def _beyond(column: Column, value: Any) -> Iterator[Q]:
    """The rows beyond a value of one column."""
    if value is None:
        if column.nulls_first:
            yield Q(**{f"{column.path}__isnull": False})
        return
    yield Q(**{f"{column.path}__{'lt' if column.descending else 'gt'}": value})
    if column.nullable and not column.nulls_first:
        yield Q(**{f"{column.path}__isnull": True})


_VOLATILE = (functions.Random, functions.Now)
_KNOWN = (
    expressions.Col,
    expressions.Ref,
    expressions.F,
    expressions.Value,
    expressions.ExpressionWrapper,
    expressions.Case,
    expressions.When,
    expressions.CombinedExpression,
    expressions.Subquery,
    expressions.ExpressionList,
    models.Aggregate,
    models.sql.Query,
)


def _walkable(queryset: models.QuerySet[Any], expression: Any) -> None:
    """Raises `OrderError` for an expression whose value is not the same at each look at a row."""
    name = type(expression).__name__
    if isinstance(expression, _VOLATILE) or name in ("RandomUUID", "TransactionNow"):
        raise OrderError(f"the order {name}() changes from query to query; order by a column")
    if isinstance(expression, expressions.Window):
        raise OrderError("a window's value depends on the rows before; order by a column")
    if isinstance(expression, F) and not isinstance(expression, _KNOWN[:2]):
        annotation = queryset.query.annotations.get(_name(expression))
        if annotation is not None:
            _walkable(queryset, annotation)
        else:
            list(_path(queryset, _name(expression), False, (), is_field=True))
        return

    module = type(expression).__module__
    is_known = isinstance(expression, _KNOWN) or module.startswith(
        (
            "django.db.models.functions",
            "django.db.models.fields",
            "django.db.models.expressions",
            "django.db.models.lookups",
            "django.db.models.sql.where",
            "django.db.models.query_utils",
            "django.contrib.postgres",
        )
    )
    if not is_known or isinstance(expression, expressions.RawSQL):
        raise OrderError(
            f"nobody can say whether {name} has the same value at each look at a row; order by a "
            "column, or by an expression of django.db.models.functions"
        )
    for part in getattr(expression, "get_source_expressions", list)():
        if part is not None:
            _walkable(queryset, part)


def _name(expression: Any) -> str:
    """The path of an `F`."""
    return str(expression.name)


def _output(expression: Any, what: Any) -> models.Field[Any, Any]:
    try:
        field: models.Field[Any, Any] = expression.output_field
    except FieldError as error:
        raise OrderError(
            f"`{what}` has no one type to order by; wrap it in ExpressionWrapper"
        ) from error
    return field


def _digits(queryset: models.QuerySet[Any], resolved: Any) -> str:
    """A name for an expression: the same for the same SQL."""
    compiler = queryset.query.get_compiler(using=queryset.db)
    sql, params = compiler.compile(resolved)
    return digest(sql, tuple(params)).hex()[:12]
