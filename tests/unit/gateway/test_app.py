"""One response for each request, with a fake caller."""

import asyncio
import re

import pytest
import structlog

from gateway_http.app import Gateway
from mesh.errors import (
    Internal,
)
from protos.account.v1 import account_pb2
from protos.gacha.v1 import gacha_pb2
from tests.unit.gateway.fakes import (
    FakeCaller,
    counted_ids,
    http_request,
    plain_edge,
    router_for,
)
from tests.unit.gateway.requests import PULL, TOKEN, ask, gateway


async def test_a_pull_goes_to_its_service_and_comes_back_as_promised() -> None:
    answer = gacha_pb2.PullResponse(
        pulled_items=[gacha_pb2.PulledItem(item_id=7, name="Sword", rarity="ultra rare")]
    )
    caller = FakeCaller({PULL: answer.SerializeToString()})
    response = await ask(
        caller,
        "POST",
        "/gacha/pull/standard",
        b'{"count":10}',
        headers={**TOKEN, "idempotency-key": "k1", "x-request-id": "r1"},
    )
    assert response.status == 200
    assert response.body == (
        b'{"pulled_items":[{"item_id":7,"name":"Sword","rarity":"ultra rare"}]}'
    )
    (call,) = caller.calls
    assert call.method == PULL
    assert gacha_pb2.PullRequest.FromString(call.request) == gacha_pb2.PullRequest(
        banner_id="standard", count=10, idempotency_key="k1"
    )
    assert call.metadata["authorization"] == "Bearer t"
    assert call.metadata["traceparent"] == f"00-{1:032x}-{0:016x}-00"
    assert response.headers["x-request-id"] == "r1"
    assert response.headers["idempotency-key"] == '"k1"'
    assert response.headers["cache-control"] == "no-store"


async def test_the_old_way_to_pull_is_get() -> None:
    caller = FakeCaller()
    response = await ask(caller, "GET", "/gacha/pull/b", headers=TOKEN)
    assert (response.status, response.body) == (200, b'{"pulled_items":[]}')
    request = gacha_pb2.PullRequest.FromString(caller.calls[0].request)
    assert not request.HasField("count")
    assert re.fullmatch("[0-9a-f]{32}", request.idempotency_key)


async def test_head_is_answered_as_get_is() -> None:
    caller = FakeCaller()
    get, head = [await ask(caller, verb, "/items") for verb in ("GET", "HEAD")]
    assert (head.status, head.body) == (get.status, get.body) == (200, b'{"items":[]}')
    assert get.headers["cache-control"] == head.headers["cache-control"] == "public, no-cache"


async def test_caches_keep_an_answer_for_as_long_as_its_proto_says() -> None:
    keys = await ask(FakeCaller(), "GET", "/.well-known/jwks.json")
    assert keys.headers["cache-control"] == "public, max-age=5"
    failing = FakeCaller({"/account.v1.AccountService/GetKeySet": Internal("a bug")})
    away = await ask(failing, "GET", "/.well-known/jwks.json")
    assert away.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/items", "GET, HEAD, OPTIONS"),
        ("/gacha/pull/b", "GET, OPTIONS, POST"),
        ("*", "OPTIONS"),
    ],
)
async def test_options_tells_the_verbs(path: str, allow: str) -> None:
    response = await ask(FakeCaller(), "OPTIONS", path)
    assert (response.status, response.headers["allow"], response.body) == (204, allow, b"")


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ("abc-1", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("a b", False),
        ("é", False),
    ],
)
async def test_a_fit_request_id_is_kept_and_another_replaced(given: str, is_kept: bool) -> None:
    caller = FakeCaller()
    response = await ask(caller, "GET", "/items", headers={"x-request-id": given})
    returned = response.headers["x-request-id"]
    trace_id = caller.calls[0].metadata["traceparent"].split("-")[1]
    assert returned == (given if is_kept else trace_id)
    assert "x-request-id" not in caller.calls[0].metadata


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("nonsense", False),
    ],
)
async def test_a_valid_trace_is_passed_on_and_another_replaced(given: str, is_kept: bool) -> None:
    caller = FakeCaller()
    await ask(caller, "GET", "/items", headers={"traceparent": given})
    passed = caller.calls[0].metadata["traceparent"]
    assert (passed == given) is is_kept
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", passed)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, 5.0), ("500m", 0.5), ("2S", 2.0), ("1H", 10.0), ("99999999S", 10.0), ("0n", 0.0)],
)
async def test_grpc_timeout_sets_the_deadline_up_to_the_maximum_of_the_method(
    given: str | None, seconds: float
) -> None:
    caller = FakeCaller()
    await ask(caller, "GET", "/items", headers={"grpc-timeout": given} if given else {})
    assert caller.calls[0].remaining_seconds == pytest.approx(seconds, abs=0.2)


async def test_only_needed_headers_are_passed_to_services() -> None:
    caller = FakeCaller()
    sent = {"cookie": "a", "x-forwarded-for": "198.51.100.7", "x-client-address": "198.51.100.7"}
    await ask(caller, "GET", "/currency", headers={**TOKEN, **sent})
    metadata = caller.calls[0].metadata
    assert set(metadata) == {"authorization", "x-client-address", "traceparent"}
    assert metadata["x-client-address"] == "192.0.2.1"


async def test_probes_are_answered_while_the_gateway_has_no_room_for_requests() -> None:
    caller = FakeCaller(wait_seconds=30)
    busy = Gateway(
        router_for(caller),
        edge=plain_edge(),
        max_in_flight=1,
        new_id=counted_ids(),
        log=structlog.get_logger(),
    )
    answering = asyncio.create_task(busy.answer(http_request("GET", "/items")))
    await caller.called.wait()
    statuses = {
        path: (await busy.answer(http_request("GET", path))).status
        for path in ("/healthz", "/readyz", "/status", "/items", "/nowhere")
    }
    answering.cancel()
    assert statuses == {
        "/healthz": 200,
        "/readyz": 200,
        "/status": 429,
        "/items": 429,
        "/nowhere": 429,
    }


async def test_cancelling_the_answer_cancels_the_call() -> None:
    caller = FakeCaller(wait_seconds=30)
    request = http_request("GET", "/currency", headers=TOKEN)
    answering = asyncio.create_task(gateway(caller).answer(request))
    await caller.called.wait()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert caller.cancelled_count == 1


async def test_the_integers_of_an_answer_are_numbers() -> None:
    answer = account_pb2.GetCurrencyResponse(user_id="u", currency_balance=2**53 - 1)
    caller = FakeCaller({"/account.v1.AccountService/GetCurrency": answer.SerializeToString()})
    response = await ask(caller, "GET", "/currency", headers=TOKEN)
    assert response.body == b'{"userId":"u","currencyBalance":9007199254740991,"debtGems":0}'
