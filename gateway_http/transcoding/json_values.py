"""Strict readers of single values in proto3's JSON mapping.

A reader takes a value from orjson or a query string and returns the value of the protobuf
field. It raises Refused with a description that continues a sentence after the field's name.
It never rounds, truncates or guesses. Source: protobuf.dev/programming-guides/json.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from protos.mesh.v1 import rules_pb2

Reader = Callable[[object], Any]

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LONGEST_NUMBER = 64
MOST_FAULTS = 20
"""How many wrong fields a refusal names."""
_SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_URL_SAFE = str.maketrans("-_", "+/")


class Fault(NamedTuple):
    """A value that its field cannot hold; `path` is relative to the reader that found it."""

    path: str
    description: str

    def within(self, name: str) -> "Fault":
        """The same fault with `name` put in front of its path."""
        separator = "." if self.path and not self.path.startswith("[") else ""
        return Fault(f"{name}{separator}{self.path}", self.description)


class Refused(Exception):
    """Values that their fields cannot hold: at least one, at most MOST_FAULTS."""

    def __init__(self, description: str, path: str = "") -> None:
        super().__init__(description)
        self.faults: tuple[Fault, ...] = (Fault(path, description),)

    @classmethod
    def of(cls, faults: Sequence[Fault]) -> "Refused":
        """The refusal of several values; those above MOST_FAULTS are left out."""
        refused = cls(faults[0].description)
        refused.faults = tuple(faults[:MOST_FAULTS])
        return refused

    def within(self, name: str) -> list[Fault]:
        """The faults with `name` put in front of their paths."""
        return [fault.within(name) for fault in self.faults]


def integer_reader(minimum: int, maximum: int, words: str = "") -> Reader:
    """Reads 5, 5.0, 5e0 and the same in quotes. Refuses fractions and booleans. `words` say
    what a number out of range must be, when the field's own range is a smaller one."""
    range_words = words or f"between {minimum} and {maximum}"

    def read(value: object) -> int:
        kind = value.__class__
        if kind is int:
            number: Any = value
        elif kind is float:
            number = value
        elif kind is str and _is_number(str(value)):
            number = Decimal(str(value))
        else:
            raise Refused("must be an integer")
        # Check the range first: int() of 1e999999999 would fill the memory.
        if not minimum <= number <= maximum:
            raise Refused(f"must be {range_words}")
        whole = int(number)
        if whole != number:
            raise Refused("must be a whole number")
        return whole

    return read


def read_double(value: object) -> float:
    """Reads a number, the same in quotes, or "NaN", "Infinity", "-Infinity"."""
    kind = value.__class__
    if kind is float or kind is int:
        return float(value)  # type: ignore[arg-type]
    if kind is str:
        text = str(value)
        if text in _SPECIAL_FLOATS:
            return _SPECIAL_FLOATS[text]
        if _is_number(text) and math.isfinite(number := float(text)):
            return number
    raise Refused("must be a number")


def read_float(value: object) -> float:
    """As `read_double`, within the range of 32 bits. The largest 32-bit number is written as
    3.4028235e38, which is a little more than its value."""
    number = read_double(value)
    try:
        struct.pack("<f", number)
    except OverflowError:
        raise Refused("must fit a 32-bit floating point number") from None
    return number


def read_boolean(value: object) -> bool:
    """Reads only true or false."""
    if value is True:
        return True
    if value is False:
        return False
    raise Refused("must be true or false")


def read_string(value: object) -> str:
    """Reads text. NUL is refused, because PostgreSQL cannot hold it."""
    if value.__class__ is not str:
        raise Refused("must be a string")
    text = str(value)
    if "\0" in text:
        raise Refused("must not contain the character NUL")
    return text


def read_bytes(value: object) -> bytes:
    """Reads base64, standard or URL-safe, with or without padding."""
    if value.__class__ is str:
        text = str(value).rstrip("=").translate(_URL_SAFE)
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    raise Refused("must be base64")


def enum_reader(enum: EnumDescriptor) -> Reader:
    """Reads a value's name or number; numbers may be unknown, as proto3 enums are open."""
    numbers = {value.name: value.number for value in enum.values}
    names = ", ".join(numbers)
    read_number = integer_reader(-(2**31), 2**31 - 1)

    def read(value: object) -> int:
        if value.__class__ is str and value in numbers:
            return numbers[str(value)]
        try:
            return int(read_number(value))
        except Refused:
            raise Refused(f"must be one of {names}") from None

    return read


def text_of_boolean(text: str) -> object:
    """Turns the text of a query's boolean into the JSON value."""
    return {"true": True, "false": False}.get(text, text)


def _is_number(text: str) -> bool:
    return len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text) is not None


_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_UINT32 = (0, 2**32 - 1)
_UINT64 = (0, 2**64 - 1)

_RANGES: dict[int, tuple[int, int]] = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
}
_READERS: dict[int, Reader] = {
    FieldDescriptor.TYPE_DOUBLE: read_double,
    FieldDescriptor.TYPE_FLOAT: read_float,
    FieldDescriptor.TYPE_BOOL: read_boolean,
    FieldDescriptor.TYPE_STRING: read_string,
    FieldDescriptor.TYPE_BYTES: read_bytes,
}


def scalar_reader(field: FieldDescriptor) -> Reader:
    """The reader of one value of a scalar or enum field."""
    if field.type == FieldDescriptor.TYPE_ENUM:
        assert field.enum_type is not None
        return enum_reader(field.enum_type)
    limits = _RANGES.get(field.type)
    if limits is None:
        return _READERS[field.type]
    rules = field.GetOptions().Extensions[rules_pb2.rules]
    if not rules.maximum:
        return integer_reader(*limits)
    # The words of a list's rule are about the whole list.
    words = "" if field.is_repeated else rules.words
    return integer_reader(*limits, words or f"{rules.minimum:,} to {rules.maximum:,}")
