"""Binding of HTTP requests to messages, compared with google.api_core's transcoding (AIP-127)."""

from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from google.api_core import path_template
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_http.transcoding.binding import MOST_PARAMETERS, RequestBinding
from gateway_http.transcoding.contracts import Binding, Operation, UnsupportedContract, is_raw_part
from gateway_http.transcoding.decoding import Decoders
from gateway_http.transcoding.router import Router
from mesh.errors import InvalidArgument
from tests.unit.gateway.fakes import contracts, counted_ids
from tests.unit.gateway.transcoding.every_kind import every_kind
from tests.unit.gateway.transcoding.messages import messages
from tests.unit.gateway.transcoding.named_endpoint import Named

OPERATIONS = {operation.name: operation for operation in contracts().operations}
# The reference does not support raw bodies and headers; see test_raw_parts.
TRANSCODED = [
    operation
    for operation in OPERATIONS.values()
    if not any(is_raw_part(field) for field in operation.request.fields)
]


def binding_of(name: str, verb: str) -> RequestBinding:
    operation = OPERATIONS[name]
    binding = next(each for each in operation.bindings if each.verb == verb)
    decoder = Decoders().of(operation.request)
    return RequestBinding(operation, binding, decoder, counted_ids())


def routed(operation: Operation) -> Router:
    router = Router()
    for binding in operation.bindings:
        router.add(binding.verb, binding.template, Named(binding.template))
    return router


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_requests_transcoded_by_the_reference_bind_to_the_same_message(
    data: st.DataObject,
) -> None:
    operation = data.draw(st.sampled_from(TRANSCODED))
    message: Any = data.draw(messages(operation.request))
    for name in ("banner_id", "gift_id", "purchase_id", "odds_version", "idempotency_key"):
        # A path variable cannot have a slash or be empty, and a missing key is made by the gateway.
        if name in operation.request.fields_by_name:
            text = data.draw(
                st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1)
            )
            setattr(message, name, text)
    for binding in operation.bindings:
        rule = {"method": binding.verb.lower(), "uri": binding.template}
        if binding.takes_body:
            rule["body"] = "*"
        # The reference does not send fields that are absent or zero.
        request = path_template.transcode([rule], message=message)  # type: ignore[no-untyped-call]
        query = _query(request.get("query_params"))
        body = request.get("body")
        target, variables = routed(operation).match(binding.verb, request["uri"])
        assert target.endpoint.name == binding.template  # type: ignore[attr-defined]
        bound = binding_of(operation.name, binding.verb).bind(
            variables, query, _json(body) if body is not None else b"", None
        )
        assert bound == message


UNFIT_KEY = "must be 1 to 128 visible ASCII characters without spaces"


def _json(message: Any) -> bytes:
    return json_format.MessageToJson(message).encode()


def _query(message: Any) -> str:
    fields = json_format.MessageToDict(message) if message is not None else {}
    return urlencode(fields, doseq=True)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("count=10", {"count": 10}),
        ("count=1e1", {"count": 10}),
        ("idempotencyKey=a%2Fb%2Bc", {"idempotency_key": "a/b+c"}),
        ("idempotency_key=k", {"idempotency_key": "k"}),
    ],
)
def test_a_query_gives_the_fields_that_the_path_does_not(
    query: str, expected: dict[str, object]
) -> None:
    bound = binding_of("Pull", "GET").bind({"banner_id": "b"}, query, b"", None)
    expected = {"idempotency_key": f"{1:032x}", "banner_id": "b", **expected}
    assert bound == GetMessageClass(OPERATIONS["Pull"].request)(**expected)


@pytest.mark.parametrize(
    ("query", "field", "description"),
    [
        ("count=", "count", "must be an integer"),
        ("count=x", "count", "must be an integer"),
        ("count=1&count=1", "count", "must be given once"),
        ("nope=1", "nope", "is not a field of this request"),
        ("nope", "nope", "is not a field of this request"),
        ("bannerid=b", "bannerid", "is not a field of this request; bannerId is"),
        ("Banner-ID=b", "Banner-ID", "is not a field of this request; bannerId is"),
        ("bannerId=other", "bannerId", "must be the same as in the path, or left out"),
        ("banner_id=other", "banner_id", "must be the same as in the path, or left out"),
        ("idempotencyKey=%00", "idempotencyKey", "must not contain the character NUL"),
        *(
            (f"idempotencyKey={key}", "idempotencyKey", UNFIT_KEY)
            for key in ("a%20b", "a+b", "%C3%A9", "%0A", "k" * 129)
        ),
        ("n" * 500 + "=1", "n" * 100, "is not a field of this request"),
    ],
)
def test_a_wrong_query_is_refused_naming_the_parameter(
    query: str, field: str, description: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        binding_of("Pull", "GET").bind({"banner_id": "b"}, query, b"", None)
    assert [(each.field, each.description) for each in caught.value.fields] == [
        (field, description)
    ]


@pytest.mark.parametrize(
    "query", ["%ff=1", "a=%ff", "&".join(["a=1"] * (MOST_PARAMETERS + 1)), "&" * 5000]
)
def test_a_query_that_is_not_utf8_or_too_long_is_refused(query: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        binding_of("Pull", "GET").bind({"banner_id": "b"}, query, b"", None)
    assert caught.value.reason == "MALFORMED_QUERY"


def test_a_route_with_a_body_takes_no_query() -> None:
    with pytest.raises(InvalidArgument) as caught:
        binding_of("BuyCurrency", "POST").bind({}, "amount=5", b"{}", None)
    assert caught.value.fields[0].field == "amount"


@pytest.mark.parametrize(
    ("name", "verb", "document", "fields"),
    [
        ("Register", "POST", {"username": 7, "password": "x", "email": "nope"},
         ["username", "password", "email"]),
        ("Register", "POST", {"username": "a", "nope": 1},
         ["nope", "username", "password", "email"]),
        ("BuyCurrency", "POST", {"amount": 0, "payment_method": []}, ["payment_method", "amount"]),
        ("BuyCurrency", "POST", {"amount": "5", "paymentMethod": []}, ["paymentMethod"]),
        ("SendGift", "POST", {"itemId": "x", "to": "", "count": 101}, ["itemId", "to", "count"]),
        ("Pull", "POST", {"count": 2, "nope": 1}, ["nope", "count"]),
        ("Refresh", "POST", {"refresh_token": "gmr_", "nope": 1}, ["nope", "refresh_token"]),
    ],
)  # fmt: skip
def test_broken_rules_are_named_beside_values_that_do_not_fit(
    name: str, verb: str, document: dict[str, object], fields: list[str]
) -> None:
    variables = {"banner_id": "b"} if name == "Pull" else {}
    with pytest.raises(InvalidArgument) as caught:
        binding_of(name, verb).bind(variables, "", orjson.dumps(document), None)
    assert [each.field for each in caught.value.fields] == fields


def test_rules_alone_are_left_to_the_service() -> None:
    bound = binding_of("Register", "POST").bind({}, "", b'{"username":"a"}', None)
    assert bound.username == "a"


def test_every_wrong_part_of_a_request_is_named_at_once() -> None:
    body = b'{"bannerId":"other","count":"x","idempotencyKey":"a b","nope":1}'
    with pytest.raises(InvalidArgument) as caught:
        binding_of("Pull", "POST").bind({"banner_id": "b"}, "page=1", body, None)
    assert [each.field for each in caught.value.fields] == [
        *("page", "bannerId", "idempotencyKey", "count", "nope")
    ]
    with pytest.raises(InvalidArgument) as caught:
        binding_of("Pull", "GET").bind({"banner_id": "b"}, "count=x&count=y&nope=1", b"", None)
    assert [each.field for each in caught.value.fields] == ["count", "count", "nope"]


@pytest.mark.parametrize("body", [b'{"bannerId":"b","count":1}', b'{"banner_id":null,"count":1}'])
def test_a_body_may_repeat_a_path_variable(body: bytes) -> None:
    assert binding_of("Pull", "POST").bind({"banner_id": "b"}, "", body, "k").banner_id == "b"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"bannerId": "other"}, "bannerId"),
        ({"banner_id": "other"}, "banner_id"),
        ({"banner_id": "b", "bannerId": "b"}, "banner_id"),
        ({"bannerId": 5}, "bannerId"),
        ({"idempotencyKey": "other"}, "Idempotency-Key"),
        ({"idempotency_key": "k", "idempotencyKey": "k"}, "idempotency_key"),
        ({"idempotencyKey": 5}, "idempotencyKey"),
        ({"idempotencyKey": False}, "idempotencyKey"),
    ],
)
def test_a_body_that_contradicts_the_path_or_the_header_is_refused(
    document: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        binding_of("Pull", "POST").bind({"banner_id": "b"}, "", orjson.dumps(document), "k")
    assert caught.value.fields[0].field == field


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        (b"", "from-header", "from-header"),
        (b'{"idempotencyKey":"from-body"}', None, "from-body"),
        (b'{"idempotency_key":"from-body"}', "from-body", "from-body"),
        (b'{"idempotencyKey":""}', "from-header", "from-header"),
        (b'{"idempotencyKey":""}', None, f"{1:032x}"),
        (b'{"idempotencyKey":null}', None, f"{1:032x}"),
        (b"", None, f"{1:032x}"),
    ],
)
def test_the_key_comes_from_the_header_or_the_body_or_is_new(
    body: bytes, key: str | None, expected: str
) -> None:
    assert binding_of("BuyCurrency", "POST").bind({}, "", body, key).idempotency_key == expected


def test_a_request_without_a_key_ignores_the_key() -> None:
    assert binding_of("Login", "POST").bind({}, "", b'{"username":"u"}', "k").username == "u"


def test_a_query_that_could_not_carry_a_field_ends_the_start() -> None:
    pull = OPERATIONS["Pull"]
    operation = Operation(
        **{
            **{name: getattr(pull, name) for name in Operation.__slots__},
            "request": every_kind(),
        }
    )
    with pytest.raises(UnsupportedContract):
        RequestBinding(
            operation, Binding("GET", "/x", False), Decoders().of(every_kind()), counted_ids()
        )
