"""What writes rows: what is refused, what its digest sees, what its JSON is."""

from __future__ import annotations

import datetime
import functools
import importlib
import json
import math
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone
from serializers import EverythingSerializer, Linked, TrickSerializer, serialize
from tricks.models import Everything, Trick

from chunkflow.django.code import SerializerError, code_of
from chunkflow.django.serializer import Links, encode, writer

FIXED = {"a": 1}


def made_by(request: Any) -> Callable[[Any], dict[str, Any]]:
    def inner(row: Any) -> dict[str, Any]:
        return {"user": request}

    return inner


def with_default(request: Any) -> Callable[[Any], dict[str, Any]]:
    def inner(row: Any, user: Any = request) -> dict[str, Any]:
        return {"user": user}

    return inner


class Shows:
    def show(self, row: Any) -> dict[str, Any]:
        return {}

    def __call__(self, row: Any) -> dict[str, Any]:
        return {}


def two(row: Any, other: Any) -> dict[str, Any]:
    return {}


def three(row: Any, links: Any, request: Any) -> dict[str, Any]:
    return {}


async def later(row: Any) -> dict[str, Any]:
    return {}


REFUSED: list[tuple[Any, str]] = [
    (made_by("Ada"), "closes over `request`"),
    (with_default(object()), "default"),
    (lambda row: {}, "lambda"),
    (functools.partial(two, other=1), "partial"),
    (Shows().show, "bound method"),
    (Shows(), "not a function"),
    (dict, "not a function"),
    (three, "takes a row"),
    (later, "`def`"),
    (TrickSerializer(), "give its class"),
    (TrickSerializer(many=True), "give its class"),
    (Linked, "needs the request"),
    (None, "need a serializer"),
    ("serialize", "not a function"),
]


@pytest.mark.parametrize(("one", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_told_from_another_is_refused_with_the_remedy(one: Any, said: str) -> None:
    with pytest.raises(SerializerError) as error:
        writer(one, Trick.objects.all())
    assert said in str(error.value)


def test_a_class_in_a_function_is_refused() -> None:
    class Local(TrickSerializer):
        pass

    with pytest.raises(SerializerError, match="in a module"):
        writer(Local, Trick.objects.all())


def test_with_a_key_a_closure_is_taken() -> None:
    made = writer(made_by("Ada"), Trick.objects.all(), may_close_over=True)
    assert made.begin(None)(None) == b'{"user":"Ada"}'


def test_links_are_given_to_those_that_take_them() -> None:
    def with_links(row: Any, links: Links) -> dict[str, Any]:
        return {"url": links("/é/?a=b c")}

    made = writer(with_links, Trick.objects.all())
    assert made.uses_links
    assert made.begin(Links("https://one.example"))(None) == (
        b'{"url":"https://one.example/%C3%A9/?a=b%20c"}'
    )
    assert not writer(serialize, Trick.objects.all()).uses_links


def test_links_are_those_of_build_absolute_uri(rf: Any) -> None:
    request = rf.get("/")
    links = Links("http://testserver")
    for path in (
        "/",
        "/a/b",
        "/a/../b",
        "/é",
        "//x.example/y",
        "https://x.example/a",
        "/a?b=c#d",
        "a/b",
    ):
        assert links(path) == request.build_absolute_uri(path)


# The digest of code

MODULE = """
import math
from helpers_of_{name} import helped
LABELS = {{"a": 1}}
RATE = 3

class Kind:
    rate = 1
    @property
    def worth(self):
        return 1
    @staticmethod
    def plain():
        return 1

def same(row):
    return math.pi

def reached(row):
    return same(row)

def nested(row):
    def inner():
        return 1
    return inner()

def serialize(row):
    return {{"a": [reached(x) for x in row], "b": LABELS, "c": RATE, "d": Kind().worth, "e": helped(row),
            "f": nested(row)}}
"""
HELPERS = """
def helped(row):
    return row
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Makes a project of a module and its helpers, with some of the text changed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(before: str = "", after: str = "") -> ModuleType:
        package = tmp_path / "own"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("")
        text = MODULE.replace("from helpers_of_{name}", "from own.helpers").format()
        helpers = HELPERS
        assert not before or before in text + helpers
        (package / "views.py").write_text(text.replace(before, after) if before else text)
        (package / "helpers.py").write_text(helpers.replace(before, after) if before else helpers)
        for name in [name for name in sys.modules if name.partition(".")[0] == "own"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return importlib.import_module("own.views")

    return make


CHANGES = [
    ("math.pi", "math.e"),
    ("return 1\n    return inner()", "return 2\n    return inner()"),
    ('LABELS = {"a": 1}', 'LABELS = {"a": 2}'),
    ("RATE = 3", "RATE = 4"),
    ("rate = 1", "rate = 2"),
    ("def worth(self):\n        return 1", "def worth(self):\n        return 2"),
    ("def plain():\n        return 1", "def plain():\n        return 2"),
    ("return row", "return [row]"),
    ('"a": [', '"z": ['),
    ("def serialize(row)", "def serialize(row, more=1)"),
]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_a_change_of_code_that_a_serializer_reaches_changes_its_digest(
    project: Any, before: str, after: str
) -> None:
    first = code_of(project().serialize)
    assert code_of(project().serialize) == first
    assert code_of(project(before, after).serialize) != first


def test_a_change_of_place_does_not_change_the_digest(project: Any) -> None:
    first = code_of(project().serialize)
    assert code_of(project("import math", "import math\n\n# A comment.\n").serialize) == first


def test_plain_values_of_the_module_are_read_at_each_request(project: Any) -> None:
    module = project()
    first = code_of(module.serialize)
    module.RATE = 5
    second = code_of(module.serialize)
    assert second != first
    module.LABELS["b"] = 2
    assert code_of(module.serialize) not in (first, second)


def test_a_function_that_is_replaced_is_seen(project: Any) -> None:
    module = project()
    first = code_of(module.serialize)
    module.reached = lambda row: row
    assert code_of(module.serialize) != first


def test_the_code_of_the_model_is_seen() -> None:
    first = code_of(serialize, (Trick,))
    assert first != code_of(serialize, (Everything,))
    assert first == code_of(serialize, (Trick,))


# JSON


def everything() -> Everything:
    return Everything(
        big=2**62,
        data=b"\x00\xff",
        truth=True,
        text='quote " and \\ and é and 日本',
        day=datetime.date(2026, 2, 28),
        moment=datetime.datetime(2026, 2, 28, 1, 2, 3, 456789, tzinfo=datetime.timezone.utc),
        amount=Decimal("12345678901234.567890"),
        length=datetime.timedelta(days=-1, hours=3, microseconds=5),
        mail="a@b.example",
        file="a/b.png",
        folder="/a",
        real=0.1,
        address="2001:db8::1",
        whole=-1,
        json={"a": [1, None, {"b": "c"}]},
        positive=1,
        positive_big=2**62,
        positive_small=2,
        slug="a-b",
        small=-2,
        long="a\nb",
        time=datetime.time(1, 2, 3, 456789),
        url="https://a.example/?b=c",
        uuid=uuid.UUID(int=7),
    )


@pytest.mark.django_db(databases=["default", "postgres"])
@pytest.mark.parametrize("using", ["default", "postgres"])
def test_each_type_of_field_is_written_as_django_writes_it(using: str) -> None:
    everything().save(using=using)
    Everything().save(using=using)
    queryset = Everything.objects.using(using).order_by("pk")
    names = [field.name for field in Everything._meta.fields if field.name != "data"]
    write = writer(None, queryset.values(*names)).begin(None)
    for row in queryset.values(*names):
        assert json.loads(write(row)) == json.loads(json.dumps(row, cls=DjangoJSONEncoder))
    (first, _) = queryset.values("data")
    assert json.loads(encode(first)) == {"data": "AP8="}

    from rest_framework.renderers import JSONRenderer

    write = writer(EverythingSerializer, queryset).begin(None)
    data = EverythingSerializer(queryset, many=True).data
    assert [json.loads(write(row)) for row in queryset] == json.loads(JSONRenderer().render(data))


def test_what_json_cannot_write_is_null_and_the_row_stays() -> None:
    row = {"a": math.nan, "b": [math.inf, 1.5], "c": {"d": -math.inf}}
    assert json.loads(encode(row)) == {"a": None, "b": [None, 1.5], "c": {"d": None}}
    assert encode({"a": "\ud800x"}).decode() == '{"a":"\ufffdx"}'


def test_no_character_in_a_row_ends_a_line() -> None:
    text = encode({"a": "\u2028\u2029\x85\n\r\x00"}).decode()
    assert len(text.splitlines()) == 1
    assert json.loads(text) == {"a": "\u2028\u2029\x85\n\r\x00"}


def test_a_serializer_that_returns_no_dict_is_told_so() -> None:
    def wrong(row: Any) -> Any:
        return [1]

    with pytest.raises(TypeError, match="returned a list; a row is a dict"):
        writer(wrong, Trick.objects.all()).begin(None)(None)


def test_a_value_that_django_cannot_write_is_an_error() -> None:
    with pytest.raises(TypeError):
        encode({"a": object()})
    assert encode({"now": timezone.now(), "set": (1, 2)})
