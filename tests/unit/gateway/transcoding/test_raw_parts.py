"""Only the raw body and headers reach their fields unchanged."""

from typing import Any

import pytest

from gateway_http.errors import UnsupportedMediaType
from gateway_http.transcoding.binding import RequestBinding
from gateway_http.transcoding.contracts import Binding, UnsupportedContract
from gateway_http.transcoding.decoding import Decoders
from gateway_http.transcoding.raw_parts import LONGEST_HEADER, RawParts
from mesh.errors import InvalidArgument
from protos.account.v1.payment_events_pb2 import ReceivePaymentEventRequest
from tests.unit.gateway.fakes import (
    Answer,
    FakeCaller,
    answer_of,
    contracts,
    counted_ids,
    http_request,
)
from tests.unit.gateway.requests import gateway

METHOD = "/account.v1.PaymentEventService/ReceivePaymentEvent"
OPERATION = next(each for each in contracts().operations if each.path == METHOD)
(ROUTE,) = OPERATION.bindings
BODY = b'{"id":\xff\x00 not JSON'


def bound(headers: Any, body: bytes = BODY, query: str = "") -> Any:
    decoder = Decoders().of(OPERATION.request)
    message = RequestBinding(OPERATION, ROUTE, decoder, counted_ids()).bind({}, query, body, None)
    RawParts(OPERATION, ROUTE).put(message, body, headers)
    return message


@pytest.mark.parametrize("content_type", ["application/json", "text/xml; charset=latin-1", ""])
def test_a_body_of_any_media_type_arrives_byte_for_byte(content_type: str) -> None:
    message = bound({"content-type": content_type})
    assert (message.event.data, message.event.content_type) == (BODY, content_type)


def test_missing_parts_are_empty() -> None:
    message = bound({}, b"")
    assert (message.event.data, message.event.content_type, message.signature) == (b"", "", "")


@pytest.mark.parametrize(
    ("headers", "signature"),
    [
        ({"sandbox-signature": "t=1, v1=b"}, "t=1, v1=b"),
        ({"sandbox-signature": "second", "stripe-signature": "first"}, "first"),
        ({"sandbox-signature": "second", "stripe-signature": ""}, ""),
        ({"stripe-signature": "x" * LONGEST_HEADER}, "x" * LONGEST_HEADER),
        ({"signature": "of nobody"}, ""),
    ],
)
def test_a_field_has_the_first_of_its_headers(headers: dict[str, str], signature: str) -> None:
    assert bound(headers).signature == signature


@pytest.mark.parametrize("name", ["stripe-signature", "content-type"])
@pytest.mark.parametrize("value", ["x" * (LONGEST_HEADER + 1), "a\tb", "a\n", "é"])
def test_an_unfit_header_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        bound({name: value})
    assert caught.value.fields[0].field == name


@pytest.mark.parametrize("query", ["signature=x", "event=x", "event.data=x"])
def test_a_query_sets_no_raw_part(query: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        bound({}, query=query)
    assert caught.value.fields[0].description == "is not a field of this request"


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        bound({"content-encoding": "gzip"})


@pytest.mark.parametrize("raw_body", ["", "signature", "nothing"])
def test_a_body_that_names_no_raw_field_ends_the_start(raw_body: str) -> None:
    with pytest.raises(UnsupportedContract):
        RawParts(OPERATION, Binding("POST", "/x", False, raw_body))


async def test_a_webhook_reaches_its_service_as_it_was_sent() -> None:
    caller = FakeCaller()
    answer = await sent(caller, {"stripe-signature": "s", "content-type": "text/plain"})
    assert answer.status == 200
    request = ReceivePaymentEventRequest.FromString(caller.calls[0].request)
    assert (request.event.data, request.event.content_type) == (BODY, "text/plain")
    assert request.signature == "s"


async def test_a_raw_body_is_bounded_as_all_bodies_are() -> None:
    caller = FakeCaller()
    answer = await sent(caller, {}, b"", is_too_large=True)
    assert (answer.status, caller.calls) == (413, [])


async def sent(
    caller: FakeCaller, headers: dict[str, str], body: bytes = BODY, *, is_too_large: bool = False
) -> Answer:
    request = http_request(
        "POST", "/webhooks/payments", headers=headers, body=body, is_too_large=is_too_large
    )
    return await answer_of(gateway(caller), request)
