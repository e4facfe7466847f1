"""The values that the decoder refuses, and the field names in its errors."""

import math

import pytest

from gateway_http.transcoding.decoding import Decoders
from gateway_http.transcoding.documents import DEEPEST, MalformedBody, parse_object
from gateway_http.transcoding.json_values import MOST_FAULTS, Fault, Refused
from tests.unit.gateway.transcoding.every_kind import every_kind

WHOLE = "must be a whole number"
INTEGER = "must be an integer"
RANGE_32 = "must be between -2147483648 and 2147483647"
RANGE_64 = "must be between -9223372036854775808 and 9223372036854775807"
TIME = "must be a time in RFC 3339 form, such as 2026-01-31T12:00:00Z"
SECONDS = "must be a duration in seconds, such as 1.5s"

REFUSED = [
    ({"oneInt64": 1.5}, "oneInt64", WHOLE),
    ({"oneInt64": "1.5"}, "oneInt64", WHOLE),
    ({"oneInt64": "5e-1"}, "oneInt64", WHOLE),
    ({"oneInt64": True}, "oneInt64", INTEGER),
    ({"oneInt64": ""}, "oneInt64", INTEGER),
    ({"oneInt64": " 5"}, "oneInt64", INTEGER),
    ({"oneInt64": "5_0"}, "oneInt64", INTEGER),
    ({"oneInt64": "0x5"}, "oneInt64", INTEGER),
    ({"oneInt64": "+5"}, "oneInt64", INTEGER),
    ({"oneInt64": "05"}, "oneInt64", INTEGER),
    ({"oneInt64": "٥"}, "oneInt64", INTEGER),
    ({"oneInt64": "9" * 5000}, "oneInt64", INTEGER),
    ({"oneInt64": [5]}, "oneInt64", INTEGER),
    ({"oneInt64": {}}, "oneInt64", INTEGER),
    ({"oneInt64": 2**63}, "oneInt64", RANGE_64),
    ({"oneInt64": "9223372036854775808"}, "oneInt64", RANGE_64),
    ({"oneInt64": 1e300}, "oneInt64", RANGE_64),
    ({"oneInt64": "1e999999999"}, "oneInt64", RANGE_64),
    ({"oneInt64": "-1e999999999"}, "oneInt64", RANGE_64),
    ({"oneInt32": 2**31}, "oneInt32", RANGE_32),
    ({"oneUint32": -1}, "oneUint32", "must be between 0 and 4294967295"),
    ({"oneUint64": math.inf}, "oneUint64", "must be between 0 and 18446744073709551615"),
    ({"oneUint64": -1}, "oneUint64", "must be between 0 and 18446744073709551615"),
    ({"oneDouble": "nan"}, "oneDouble", "must be a number"),
    ({"oneDouble": "1e400"}, "oneDouble", "must be a number"),
    ({"oneDouble": True}, "oneDouble", "must be a number"),
    ({"oneDouble": " 1"}, "oneDouble", "must be a number"),
    ({"oneFloat": 1e39}, "oneFloat", "must fit a 32-bit floating point number"),
    ({"oneBool": 1}, "oneBool", "must be true or false"),
    ({"oneBool": "true"}, "oneBool", "must be true or false"),
    ({"oneString": 5}, "oneString", "must be a string"),
    ({"oneString": "a\0b"}, "oneString", "must not contain the character NUL"),
    ({"one_string": []}, "one_string", "must be a string"),
    ({"oneBytes": "?"}, "oneBytes", "must be base64"),
    ({"oneBytes": "abcde"}, "oneBytes", "must be base64"),
    ({"oneBytes": "é"}, "oneBytes", "must be base64"),
    ({"oneColor": "RED"}, "oneColor", "must be one of COLOR_UNSPECIFIED, COLOR_RED, COLOR_BLUE"),
    ({"oneColor": 1.5}, "oneColor", "must be one of COLOR_UNSPECIFIED, COLOR_RED, COLOR_BLUE"),
    ({"oneTimestamp": "2026-01-31"}, "oneTimestamp", TIME),
    ({"oneTimestamp": "2026-01-31T12:00:00"}, "oneTimestamp", TIME),
    ({"oneTimestamp": "2026-01-31T12:00:00.1234567890Z"}, "oneTimestamp", TIME),
    ({"oneTimestamp": 5}, "oneTimestamp", TIME),
    ({"oneTimestamp": "2026-02-30T12:00:00Z"}, "oneTimestamp", "must be an existing date and time"),
    (
        {"oneTimestamp": "0001-01-01T00:00:00+01:00"},
        "oneTimestamp",
        "must be in the years 1 to 9999",
    ),
    (
        {"oneTimestamp": "2026-01-01T00:00:00+99:00"},
        "oneTimestamp",
        "must be an existing date and time",
    ),
    ({"oneDuration": "1"}, "oneDuration", SECONDS),
    ({"oneDuration": "315576000001s"}, "oneDuration", SECONDS),
    ({"manyInt64": 5}, "manyInt64", "must be an array"),
    ({"manyInt64": [1, None]}, "manyInt64[1]", INTEGER),
    ({"counts": []}, "counts", "must be an object"),
    ({"counts": {"a": None}}, "counts.a", INTEGER),
    ({"texts": {"x": "a"}}, "texts.x", INTEGER),
    ({"texts": {"5": "a", "5.0": "b"}}, "texts.5.0", "must be given once"),
    ({"flags": {"yes": 1}}, "flags.yes", "must be true or false"),
    ({"child": []}, "child", "must be an object"),
    ({"child": {"nope": 1}}, "child.nope", "is not a field of this request"),
    ({"children": [{}, {"oneInt32": "x"}]}, "children[1].oneInt32", INTEGER),
    ({"family": {"1": {"manyBool": [0]}}}, "family.1.manyBool[0]", "must be true or false"),
    ({"nope": 1}, "nope", "is not a field of this request"),
    ({"nope": None}, "nope", "is not a field of this request"),
    ({"oneInt32": 1, "one_int32": 1}, "one_int32", "must be given once"),
    ({"chosenText": "a", "chosenWord": "b"}, "chosenWord", "must be the only one given of choice"),
]


@pytest.mark.parametrize(
    ("document", "path", "description"), REFUSED, ids=lambda each: str(each)[:40]
)
def test_a_value_that_its_field_cannot_hold_is_refused_at_its_path(
    document: object, path: str, description: str
) -> None:
    with pytest.raises(Refused) as caught:
        Decoders().of(every_kind()).decode(document)
    assert caught.value.faults == (Fault(path, description),)


def test_every_value_that_its_field_cannot_hold_is_refused_at_once() -> None:
    document = {
        "oneInt32": "x",
        "manyInt64": [1, None, "y"],
        "counts": {"a": None, "b": 1, "c": "z"},
        "child": {"oneInt32": "x", "nope": 1},
        "nope": 1,
        "oneString": "right",
    }
    with pytest.raises(Refused) as caught:
        Decoders().of(every_kind()).decode(document)
    paths = [fault.path for fault in caught.value.faults]
    assert paths == [
        *("oneInt32", "manyInt64[1]", "manyInt64[2]", "counts.a", "counts.c"),
        *("child.oneInt32", "child.nope", "nope"),
    ]


def test_a_refusal_names_a_bounded_number_of_values() -> None:
    with pytest.raises(Refused) as caught:
        Decoders().of(every_kind()).decode({f"nope{number}": 1 for number in range(1000)})
    assert len(caught.value.faults) == MOST_FAULTS


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b"{}{}",
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":01}',
        b'{"a":1,}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\x00"}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":' + b"[" * DEEPEST + b"]" * DEEPEST + b"}",
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"b":{"a":":","a":1}}',
        b'[{"a":1,"a":1}]',
        b'{"b":[{"a":1,"a":2}]}',
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse_object(body)


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b"", {}),
        (b"{}", {}),
        (b' {"a" : 1 } \n', {"a": 1}),
        (b'{"a":":::","b":"\\"a\\":1"}', {"a": ":::", "b": '"a":1'}),
        (b'{"a":":",' + b'"b":' + b"9" * 300 + b"}", {"a": ":", "b": float("9" * 300)}),
        (b'{"a":{"a":1},"b":[{"a":1},{"a":":"}]}', {"a": {"a": 1}, "b": [{"a": 1}, {"a": ":"}]}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    ],
)
def test_a_json_object_is_read_with_any_colons_in_its_strings(
    body: bytes, document: dict[str, object]
) -> None:
    assert parse_object(body) == document


def test_values_of_the_maximum_depth_are_read() -> None:
    levels = DEEPEST - 1
    parse_object(b'{"a":' + b"[" * levels + b"]" * levels + b"}")


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"9" * 401])
def test_a_number_beyond_every_float_is_left_to_its_field_to_refuse(number: bytes) -> None:
    document = parse_object(b'{"a":' + number + b"}")
    assert math.isinf(document["a"])
