"""Values as bytes, so that different values never have the same bytes.

The keys of chunks are made of them. Two values of equal bytes are the same to a database and to a
serializer. A value of a type that is not known here has no bytes: `UnseenError` is raised, and what
depends on it is not cached.
"""

from __future__ import annotations

import datetime
import enum
import hashlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.utils.functional import Promise

DEEPEST = 50
"""How deep values may be nested. A value that holds itself is refused by it too."""


class UnseenError(Exception):
    """Rows may depend on something that cannot be seen, so they are not cached."""

    def __init__(self, what: str, remedy: str, *, is_of_thread: bool = False) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy
        self.is_of_thread = is_of_thread
        """Whether it may differ from thread to thread, so that rows are read in the request's."""

    def again(self) -> UnseenError:
        """The same, to be raised: one that is raised twice keeps the frames of both times."""
        return type(self)(self.what, self.remedy, is_of_thread=self.is_of_thread)


def canonical(value: Any) -> bytes:
    """The bytes of a value. Raises `UnseenError` for a type that is not known."""
    out = bytearray()
    _write(value, out, 0)
    return bytes(out)


def digest(*values: Any) -> bytes:
    """32 bytes that stand for these values."""
    return hashlib.blake2b(canonical(values), digest_size=32).digest()


def _write(value: Any, out: bytearray, depth: int) -> None:
    if depth > DEEPEST:
        raise UnseenError("a value is nested too deep", "give a plain value")

    # Nearly all values are of these types, and a key has hundreds of them.
    kind = type(value)
    if kind is str:
        text = value.encode("utf-8", "surrogatepass")
        out += b"s%d " % len(text)
        out += text
    elif kind is tuple or kind is list:
        out += (b"(%d " if kind is tuple else b"[%d ") % len(value)
        for one in value:
            _write(one, out, depth + 1)
    elif value is None:
        out += b"N"
    elif kind is bytes:
        out += b"b%d " % len(value)
        out += value
    elif kind is int:
        text = b"%d" % value
        out += b"i%d " % len(text)
        out += text
    elif kind is bool:
        out += b"T" if value else b"F"
    elif value is Ellipsis:
        out += b"."
    elif isinstance(value, enum.Enum):
        _named(b"e", _name(type(value)), out)
        _write(value.value, out, depth + 1)
    elif isinstance(value, Promise):
        # A lazy translation: its text depends on the language, which is in every key.
        _bytes(b"s", str(value).encode("utf-8", "surrogatepass"), out)
    elif isinstance(value, str):
        _bytes(b"s", str.encode(value, "utf-8", "surrogatepass"), out)
    elif isinstance(value, int):
        _bytes(b"i", int.__repr__(value).encode(), out)
    elif isinstance(value, float):
        _bytes(b"f", float.__repr__(value).encode(), out)
    elif isinstance(value, complex):
        _bytes(b"c", complex.__repr__(value).encode(), out)
    elif isinstance(value, bytes | bytearray | memoryview):
        _bytes(b"b", bytes(value), out)
    elif isinstance(value, tuple | list):
        _each(b"(" if isinstance(value, tuple) else b"[", value, out, depth)
    elif isinstance(value, Mapping):
        _each(b"{", ((name, value[name]) for name in value), out, depth)
    elif isinstance(value, set | frozenset):
        _bytes(b"S", b"".join(sorted(_part(one, depth) for one in value)), out)
    else:
        _rare(value, out, depth)


def _rare(value: Any, out: bytearray, depth: int) -> None:
    if isinstance(value, Decimal):
        _bytes(b"d", str(value).encode(), out)
    elif isinstance(value, datetime.datetime):
        # Two texts may be the same moment. Then its list has two keys, which harms nobody.
        _bytes(b"D", f"{value.isoformat()} {value.fold}".encode(), out)
    elif isinstance(value, datetime.date | datetime.time):
        kind = b"t" if isinstance(value, datetime.time) else b"a"
        _bytes(kind, value.isoformat().encode(), out)
    elif isinstance(value, datetime.timedelta):
        _bytes(b"l", f"{value.days} {value.seconds} {value.microseconds}".encode(), out)
    elif isinstance(value, uuid.UUID):
        _bytes(b"u", value.bytes, out)
    elif isinstance(value, datetime.tzinfo):
        _bytes(b"z", _zone(value).encode(), out)
    elif isinstance(value, range):
        _each(b"r", (value.start, value.stop, value.step), out, depth)
    elif isinstance(value, slice):
        _each(b":", (value.start, value.stop, value.step), out, depth)
    elif isinstance(value, re.Pattern):
        _each(b"p", (value.pattern, value.flags), out, depth)
    elif isinstance(value, types.MappingProxyType):
        _write(dict(value), out, depth)
    elif isinstance(value, type):
        _named(b"C", _name(value), out)
    else:
        _of_a_driver(value, out, depth)


def _of_a_driver(value: Any, out: bytearray, depth: int) -> None:
    """The values in which drivers wrap parameters: JSON, ranges, addresses."""
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    if module in ("psycopg", "psycopg2"):
        if kind.__name__ in ("Json", "Jsonb"):
            held = value.obj if module == "psycopg" else value.adapted
            _named(b"w", kind.__name__, out)
            return _write(held, out, depth + 1)
        if kind.__name__ == "Binary":
            return _write(bytes(value.obj if module == "psycopg" else value.adapted), out, depth)
        if "Range" in kind.__name__ and hasattr(value, "lower_inc"):
            _named(b"w", kind.__name__, out)
            held = (value.isempty, value.lower, value.upper, value.lower_inc, value.upper_inc)
            return _write(held, out, depth + 1)
    if module == "django" and hasattr(value, "getquoted"):
        return _write(value.adapted, out, depth)
    if module == "ipaddress":
        return _bytes(b"I", str(value).encode(), out)
    raise UnseenError(
        f"a value is of the type {_name(kind)}, which has no known form", "give a plain value"
    )


def _zone(zone: datetime.tzinfo) -> str:
    """What tells one time zone from every other."""
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return f"zone {zone.key}"
    if isinstance(zone, datetime.timezone):
        return f"offset {zone.utcoffset(None)} {zone.tzname(None)}"
    name = getattr(zone, "zone", None)
    if isinstance(name, str) and type(zone).__module__.startswith("pytz"):
        return f"zone {name}"
    raise UnseenError(
        f"the time zone {zone!r} has no name that tells it from others", "use a zoneinfo.ZoneInfo"
    )


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _part(value: Any, depth: int) -> bytes:
    part = bytearray()
    _write(value, part, depth + 1)
    return bytes(part)


def _each(tag: bytes, values: Iterable[Any], out: bytearray, depth: int) -> None:
    parts = [_part(value, depth) for value in values]
    out += tag + b"%d " % len(parts)
    for part in parts:
        out += part


def _named(tag: bytes, name: str, out: bytearray) -> None:
    _bytes(tag, name.encode(), out)


def _bytes(tag: bytes, value: bytes, out: bytearray) -> None:
    out += tag + b"%d " % len(value)
    out += value
