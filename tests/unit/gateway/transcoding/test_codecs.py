"""The codecs compared with json_format, the reference implementation of proto3's JSON mapping.

Two differences are ours: 64-bit integers are JSON numbers in what we write, and
NUL is refused in what we read.
"""

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_http.transcoding.contracts import is_raw_part
from gateway_http.transcoding.decoding import Decoders
from gateway_http.transcoding.encoding import Encoders
from tests.unit.gateway.fakes import contracts
from tests.unit.gateway.transcoding.every_kind import every_kind
from tests.unit.gateway.transcoding.messages import messages


def _contract_messages() -> list[Descriptor]:
    found = {}
    for operation in contracts().operations:
        # A raw part is not in the JSON, so json_format and the codecs differ on it by design.
        if not any(is_raw_part(field) for field in operation.request.fields):
            found[operation.request.full_name] = operation.request
        found[operation.response.full_name] = operation.response
    return [each for each in found.values() if each.fields]


each_type = pytest.mark.parametrize(
    "descriptors",
    [
        pytest.param([every_kind()], id="every kind of field"),
        pytest.param(_contract_messages(), id="the contracts"),
    ],
)
unhurried = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal; NaN equals itself."""
    return bool(left == right) or left.SerializeToString(
        deterministic=True
    ) == right.SerializeToString(deterministic=True)


@each_type
@unhurried
@given(data=st.data())
def test_the_encoder_writes_what_json_format_reads_back(
    descriptors: list[Descriptor], data: st.DataObject
) -> None:
    descriptor = data.draw(st.sampled_from(descriptors))
    message = data.draw(messages(descriptor))
    written = Encoders().of(descriptor).encode(message)
    read = json_format.Parse(written, GetMessageClass(descriptor)())
    assert same(read, message)


@each_type
@unhurried
@given(data=st.data())
def test_the_encoder_writes_the_same_fields_as_json_format(
    descriptors: list[Descriptor], data: st.DataObject
) -> None:
    descriptor = data.draw(st.sampled_from(descriptors))
    message = data.draw(messages(descriptor))
    ours = json.loads(Encoders().of(descriptor).encode(message))
    theirs = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    assert list(ours) == [
        field.json_name for field in descriptor.fields if field.json_name in theirs
    ]
    assert ours == _integers_as_numbers(theirs, descriptor)


@each_type
@unhurried
@given(data=st.data())
def test_the_decoder_reads_what_json_format_writes(
    descriptors: list[Descriptor], data: st.DataObject
) -> None:
    descriptor = data.draw(st.sampled_from(descriptors))
    message = data.draw(messages(descriptor))
    by_proto_name = data.draw(st.booleans())
    document = json_format.MessageToDict(message, preserving_proto_field_name=by_proto_name)
    assert same(Decoders().of(descriptor).decode(document), message)


@each_type
@unhurried
@given(data=st.data())
def test_the_decoder_reads_what_the_encoder_writes(
    descriptors: list[Descriptor], data: st.DataObject
) -> None:
    descriptor = data.draw(st.sampled_from(descriptors))
    message = data.draw(messages(descriptor))
    written = json.loads(Encoders().of(descriptor).encode(message))
    assert same(Decoders().of(descriptor).decode(written), message)


def _integers_as_numbers(value: Any, descriptor: Descriptor) -> Any:
    """The output of json_format, with 64-bit integers as numbers."""
    result = {}
    for name, item in value.items():
        field = next(each for each in descriptor.fields if each.json_name == name)
        result[name] = _as_ours(item, field)
    return result


def _as_ours(item: Any, field: FieldDescriptor) -> Any:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        inner = message.fields_by_name["value"]
        return {key: _as_ours(each, inner) for key, each in item.items()}
    if isinstance(item, list):
        return [_as_ours(each, field) for each in item]
    if isinstance(item, dict):
        assert message is not None
        return _integers_as_numbers(item, message)
    is_wide = field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
    return int(item) if is_wide else item


def test_amounts_are_written_as_numbers_and_absent_fields_as_their_defaults() -> None:
    response = next(each.response for each in contracts().operations if each.name == "GetCurrency")
    message = GetMessageClass(response)(currency_balance=2**53 - 1)
    assert (
        Encoders().of(response).encode(message)
        == b'{"userId":"","currencyBalance":9007199254740991,"debtGems":0}'
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("5", 5),
        (5.0, 5),
        ("5.0", 5),
        ("50e-1", 5),
        ("-0", 0),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_every_spelling_of_a_whole_number_is_read(written: object, expected: int) -> None:
    message = Decoders().of(every_kind()).decode({"oneInt64": written})
    assert message.one_int64 == expected


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("1970-01-01T00:00:00Z", 0, 0),
        ("1970-01-01T00:00:00.1Z", 0, 100_000_000),
        ("1969-12-31T23:59:59.999999999Z", -1, 999_999_999),
        ("1970-01-01T01:00:00+01:00", 0, 0),
        ("1969-12-31T19:30:00-04:30", 0, 0),
        ("1970-01-01t00:00:00z", 0, 0),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
        ("9999-12-31T23:59:59Z", 253_402_300_799, 0),
    ],
)
def test_times_are_read_as_rfc_3339_writes_them(text: str, seconds: int, nanos: int) -> None:
    message = Decoders().of(every_kind()).decode({"oneTimestamp": text})
    assert (message.one_timestamp.seconds, message.one_timestamp.nanos) == (seconds, nanos)


def test_null_is_the_default_of_every_field() -> None:
    descriptor = every_kind()
    document = {field.json_name: None for field in descriptor.fields}
    assert Decoders().of(descriptor).decode(document) == GetMessageClass(descriptor)()


def test_special_floats_are_read_and_written_in_quotes() -> None:
    descriptor = every_kind()
    message = Decoders().of(descriptor).decode({"manyDouble": ["NaN", "Infinity", "-Infinity"]})
    assert math.isnan(message.many_double[0])
    assert Encoders().of(descriptor).to_object(message)["manyDouble"] == [
        "NaN",
        "Infinity",
        "-Infinity",
    ]
