"""The key of a mutation: in either form, every answer returns the key to repeat with."""

import re
from typing import Any

import orjson
import pytest

from gateway_http.edge.headers import idempotency_key_of
from gateway_http.exchange import Headers, idempotency_key_header
from mesh.errors import InDoubt, Internal, MeshError, Overloaded
from protos.account.v1 import account_pb2
from tests.unit.gateway.fakes import Answer, FakeCaller
from tests.unit.gateway.requests import BUY, ITEMS, TOKEN, ask

BODY = b'{"amount":1,"paymentMethod":"credit_card"}'


async def buy(
    caller: FakeCaller,
    body: bytes = BODY,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    sent = {**TOKEN, **(headers or {})}
    if key is not None:
        sent["idempotency-key"] = key
    return await ask(caller, "POST", "/buy-currency", body, headers=sent)


def sent_key(caller: FakeCaller) -> str:
    (call,) = caller.calls
    return account_pb2.BuyCurrencyRequest.FromString(call.request).idempotency_key


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (' "k" ', "k"),
        (r'"a\"b\\c"', r'a"b\c'),
        ('a"b', 'a"b'),
        (r"a\b", r"a\b"),
        ('"' + "k" * 128 + '"', "k" * 128),
    ],
)
async def test_both_spellings_are_one_key(written: str, key: str) -> None:
    caller = FakeCaller()
    response = await buy(caller, key=written)
    assert (response.status, sent_key(caller)) == (200, key)
    returned = response.headers["idempotency-key"]
    assert idempotency_key_of(Headers([("idempotency-key", returned)])) == key
    assert returned == idempotency_key_header(key)[1]


@pytest.mark.parametrize(
    "written",
    ["", '"', '"k', 'k"k" k', '"k"k', '"a b"', '""', r'"\k"', '"k";a=1', "k" * 129, "\u00e9"],
)
async def test_a_malformed_key_is_refused_by_the_name_of_its_header(written: str) -> None:
    caller = FakeCaller()
    response = await buy(caller, key=written)
    assert (response.status, caller.calls) == (400, [])
    body = orjson.loads(response.body)
    assert [each["field"] for each in body["fields"]] == ["Idempotency-Key"]
    assert "idempotencyKey" not in body
    assert "idempotency-key" not in response.headers


async def test_two_keys_are_refused() -> None:
    twice = Headers([("idempotency-key", "a"), ("idempotency-key", "b")])
    with pytest.raises(MeshError, match=r"^Idempotency-Key must be given once"):
        idempotency_key_of(twice)


async def test_a_key_that_was_made_up_is_returned_with_success() -> None:
    caller = FakeCaller()
    response = await buy(caller)
    assert re.fullmatch("[0-9a-f]{32}", sent_key(caller))
    assert response.headers["idempotency-key"] == f'"{sent_key(caller)}"'
    assert b"idempotencyKey" not in response.body


@pytest.mark.parametrize("error", [InDoubt(), Internal("secret"), ValueError("a bug")])
@pytest.mark.parametrize("key", [None, "mine"])
async def test_an_error_names_the_key_to_repeat_with(error: Exception, key: str | None) -> None:
    caller = FakeCaller({BUY: error})
    response = await buy(caller, key=key)
    body = orjson.loads(response.body)
    assert response.status >= 500
    assert body["idempotencyKey"] == sent_key(caller) == (key or sent_key(caller))
    assert response.headers["idempotency-key"] == f'"{sent_key(caller)}"'


async def test_an_answer_that_cannot_be_read_names_the_key_for_the_call_took_effect() -> None:
    caller = FakeCaller({BUY: b"\xff"})
    response = await buy(caller)
    assert response.status == 500
    assert orjson.loads(response.body)["idempotencyKey"] == sent_key(caller)


async def test_a_key_in_the_body_is_returned_too() -> None:
    caller = FakeCaller({BUY: InDoubt()})
    response = await buy(caller, BODY[:-1] + b',"idempotencyKey":"k"}')
    assert response.headers["idempotency-key"] == '"k"'
    assert orjson.loads(response.body)["idempotencyKey"] == "k"


async def test_a_refusal_before_the_call_returns_a_given_key_and_makes_none() -> None:
    for key, returned in ((None, None), ("k", '"k"')):
        response = await buy(FakeCaller(), b"no JSON", key)
        assert response.status == 400
        assert response.headers.get("idempotency-key") == returned


async def test_a_method_without_a_key_returns_none() -> None:
    for answer in (b"", Overloaded("Busy.", retry_after_seconds=1)):
        caller = FakeCaller({ITEMS: answer})
        response = await ask(caller, "GET", "/items", headers={"idempotency-key": "k"})
        assert "idempotency-key" not in response.headers
        assert b"idempotencyKey" not in response.body


async def test_ids_of_an_error_are_the_request_id_and_the_trace_id() -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    traceparent = f"00-{trace_id}-00f067aa0ba902b7-01"
    cases: list[tuple[dict[str, str], Any, Any]] = [
        ({"traceparent": traceparent}, trace_id, trace_id),
        ({"traceparent": traceparent, "x-request-id": "mine"}, "mine", trace_id),
    ]
    for headers, request_id, expected in cases:
        caller = FakeCaller({BUY: InDoubt()})
        response = await buy(caller, headers=headers)
        body = orjson.loads(response.body)
        assert (body["requestId"], body["traceId"]) == (request_id, expected)
        assert response.headers["x-request-id"] == request_id
        assert caller.calls[0].metadata["traceparent"] == traceparent
