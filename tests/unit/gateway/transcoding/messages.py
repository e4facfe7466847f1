"""Random messages of a type, drawn by hypothesis."""

import math
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_INTEGERS = {
    "INT32": st.integers(-(2**31), 2**31 - 1),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "UINT32": st.integers(0, 2**32 - 1),
    "UINT64": st.integers(0, 2**64 - 1),
}
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _INTEGERS["INT32"],
    FieldDescriptor.CPPTYPE_INT64: _INTEGERS["INT64"],
    FieldDescriptor.CPPTYPE_UINT32: _INTEGERS["UINT32"],
    FieldDescriptor.CPPTYPE_UINT64: _INTEGERS["UINT64"],
    # JSON has one NaN for all its bit patterns.
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False) | st.just(math.nan),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32, allow_nan=False) | st.just(math.nan),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    # Enums of proto3 are open: 7 is a value that this side does not know.
    FieldDescriptor.CPPTYPE_ENUM: st.sampled_from([0, 1, 2, 7]),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Any:
    """Any message of a type, with few of its fields set."""
    if descriptor.full_name == "google.protobuf.Timestamp":
        seconds = draw(st.integers(-62_135_596_800, 253_402_300_799))
        return GetMessageClass(descriptor)(seconds=seconds, nanos=draw(st.integers(0, 999_999_999)))
    if descriptor.full_name == "google.protobuf.Duration":
        nanos = draw(st.integers(-(10**18), 10**18))
        sign = -1 if nanos < 0 else 1
        return GetMessageClass(descriptor)(
            seconds=sign * (abs(nanos) // 10**9), nanos=sign * (abs(nanos) % 10**9)
        )
    values: dict[str, Any] = {}
    fields = list(descriptor.fields)
    chosen = st.lists(st.sampled_from(fields), max_size=8, unique=True) if fields else st.just([])
    for field in draw(chosen):
        if field.message_type is None or depth < 2:
            values[field.name] = draw(_field_values(field, depth))
    return GetMessageClass(descriptor)(**values)


def _field_values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        keys = _single_values(message.fields_by_name["key"], depth)
        return st.dictionaries(
            keys, _single_values(message.fields_by_name["value"], depth), max_size=3
        )
    one = _single_values(field, depth)
    return st.lists(one, max_size=3) if field.is_repeated else one


def _single_values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth + 1)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=20)
    if field.type == FieldDescriptor.TYPE_STRING:
        return TEXT
    return _SCALARS[field.cpp_type]
