"""One request in, one response out, over a fake caller."""

import asyncio
import re
from typing import Any

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from gateway_http.app import Gateway
from gateway_http.compose import Limits
from gateway_http.errors import STATUS_BY_CODE, HeadTooLarge
from mesh.errors import (
    BY_CODE,
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    MeshError,
    Overloaded,
    ResourceExhausted,
)
from protos.account.v1 import account_pb2
from protos.gacha.v1 import gacha_pb2
from tests.unit.gateway.fakes import (
    LIMITS,
    Answer,
    FakeCaller,
    answer_of,
    calls_router,
    counted_ids,
    http_request,
    plain_edge,
)

TOKEN = {"authorization": "Bearer t"}
PULL = "/gacha.v1.GachaService/Pull"
BUY = "/account.v1.AccountService/BuyCurrency"
ITEMS = "/gacha.v1.GachaService/ListItems"


def gateway(caller: FakeCaller, max_in_flight: int = 100, limits: Limits = LIMITS) -> Gateway:
    return Gateway(
        calls_router(caller, limits),
        edge=plain_edge(),
        max_in_flight=max_in_flight,
        new_id=counted_ids(),
        log=structlog.get_logger(),
    )


async def ask(
    caller: FakeCaller,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    is_too_large: bool = False,
    waited_seconds: float = 0.0,
) -> Answer:
    request = http_request(
        method,
        path,
        headers=headers,
        body=body,
        is_too_large=is_too_large,
        waited_seconds=waited_seconds,
    )
    return await answer_of(gateway(caller), request)


def error_of(response: Answer) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(response.body)
    assert list(body)[:5] == ["status", "message", "code", "reason", "requestId"]
    assert body["status"] == "error"
    assert body["requestId"] == response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    return body


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
        banner_id="standard", count=10, request_id="k1"
    )
    assert call.metadata["authorization"] == "Bearer t"
    assert call.metadata["x-request-id"] == "r1"
    assert response.headers["x-request-id"] == "r1"
    assert response.headers["cache-control"] == "no-store"


async def test_the_old_way_to_pull_is_get() -> None:
    caller = FakeCaller()
    response = await ask(caller, "GET", "/gacha/pull/b", headers=TOKEN)
    assert (response.status, response.body) == (200, b'{"pulled_items":[]}')
    request = gacha_pb2.PullRequest.FromString(caller.calls[0].request)
    assert not request.HasField("count")
    assert re.fullmatch("[0-9a-f]{32}", request.request_id)


async def test_a_get_ignores_a_body() -> None:
    response = await ask(FakeCaller(), "GET", "/items", b"nonsense")
    assert response.status == 200


@pytest.mark.parametrize("code", list(BY_CODE), ids=lambda code: code.name)
async def test_an_error_of_a_service_has_the_status_of_its_code(code: Any) -> None:
    error = BY_CODE[code]("Something is so.", reason="SOME_REASON")
    response = await ask(FakeCaller({ITEMS: error}), "GET", "/items")
    assert response.status == STATUS_BY_CODE[code]
    body = error_of(response)
    assert (body["code"], "fields" in body) == (code.name, False)
    assert ("www-authenticate" in response.headers) == (response.status == 401)


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (
            FailedPrecondition("Insufficient currency", reason="INSUFFICIENT_CURRENCY"),
            400,
            {
                "message": "Insufficient currency",
                "code": "FAILED_PRECONDITION",
                "reason": "INSUFFICIENT_CURRENCY",
            },
        ),
        (
            InvalidArgument("Used before.", reason="IDEMPOTENCY_KEY_REUSED"),
            422,
            {"code": "INVALID_ARGUMENT", "reason": "IDEMPOTENCY_KEY_REUSED"},
        ),
        (AlreadyExists("Taken.", reason="USERNAME_TAKEN"), 409, {"reason": "USERNAME_TAKEN"}),
        (MeshError("Odd."), 500, {"code": "INTERNAL"}),
        (
            InvalidArgument.of_field("payment_method", "must be short"),
            400,
            {
                "message": "paymentMethod must be short",
                "fields": [{"field": "paymentMethod", "message": "must be short"}],
            },
        ),
        (
            InvalidArgument(
                "Two.", fields=(FieldViolation("payment_method", "a"), FieldViolation("x", "b"))
            ),
            400,
            {
                "message": "Two.",
                "fields": [
                    {"field": "paymentMethod", "message": "a"},
                    {"field": "x", "message": "b"},
                ],
            },
        ),
    ],
)
async def test_an_error_of_a_service_is_told_in_the_words_of_rest(
    error: MeshError, status: int, expected: dict[str, Any]
) -> None:
    response = await ask(FakeCaller({BUY: error}), "POST", "/buy-currency", headers=TOKEN)
    assert response.status == status
    body = error_of(response)
    assert {name: body[name] for name in expected} == expected


async def test_busy_says_when_to_come_back() -> None:
    error = ResourceExhausted("Busy.", retry_after_seconds=1.2)
    response = await ask(FakeCaller({ITEMS: error}), "GET", "/items")
    assert (response.status, response.headers["retry-after"]) == (429, "2")


@pytest.mark.parametrize("error", [Internal("secret"), MeshError("secret"), ValueError("secret")])
async def test_what_is_our_fault_is_told_by_its_request_id_alone(error: Exception) -> None:
    with capture_logs() as logs:
        response = await ask(FakeCaller({ITEMS: error}), "GET", "/items")
    assert response.status == 500
    body = error_of(response)
    assert body["code"] == "INTERNAL"
    assert b"secret" not in response.body
    assert [line["request_id"] for line in logs] == [body["requestId"]]


async def test_an_answer_that_cannot_be_read_is_our_fault() -> None:
    response = await ask(FakeCaller({ITEMS: b"\xff"}), "GET", "/items")
    assert (response.status, error_of(response)["code"]) == (500, "INTERNAL")


BAD_REQUESTS = [
    ("GET", "/nope", b"", {}, 404, "NOT_FOUND", "ROUTE_NOT_FOUND"),
    ("POST", "/login/", b"{}", {}, 404, "NOT_FOUND", "ROUTE_NOT_FOUND"),
    ("DELETE", "/login", b"", {}, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED"),
    ("HEAD", "/gacha/pull/b", b"", TOKEN, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED"),
    ("POST", "/login", b"{", {}, 400, "INVALID_ARGUMENT", "MALFORMED_BODY"),
    ("POST", "/login", b"[]", {}, 400, "INVALID_ARGUMENT", "MALFORMED_BODY"),
    ("POST", "/login", b'{"user":1}', {}, 400, "INVALID_ARGUMENT", "INVALID_FIELD"),
    (
        *("POST", "/login", b"{}", {"content-type": "text/plain"}),
        *(415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE"),
    ),
    (
        *("POST", "/login", b"{}", {"content-type": "application/json; charset=latin1"}),
        *(415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE"),
    ),
    (
        *("POST", "/login", b"{}", {"content-encoding": "gzip"}),
        *(415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE"),
    ),
    ("GET", "/items", b"", {"grpc-timeout": "5"}, 400, "INVALID_ARGUMENT", "INVALID_FIELD"),
    (
        "GET",
        "/items",
        b"",
        {"grpc-timeout": "123456789S"},
        400,
        "INVALID_ARGUMENT",
        "INVALID_FIELD",
    ),
    (
        *("POST", "/buy-currency", b"{}", {**TOKEN, "idempotency-key": "a b"}),
        *(400, "INVALID_ARGUMENT", "INVALID_FIELD"),
    ),
    (
        *("POST", "/buy-currency", b"{}", {**TOKEN, "idempotency-key": "k" * 129}),
        *(400, "INVALID_ARGUMENT", "INVALID_FIELD"),
    ),
    ("GET", "/currency", b"", {}, 401, "UNAUTHENTICATED", "TOKEN_MISSING"),
    (
        *("GET", "/currency", b"", {"authorization": "Bearer \u00e9"}),
        *(401, "UNAUTHENTICATED", "TOKEN_INVALID"),
    ),
    (
        *("GET", "/currency", b"", {"authorization": "Bearer " + "t" * 5000}),
        *(401, "UNAUTHENTICATED", "TOKEN_INVALID"),
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code", "reason"),
    BAD_REQUESTS,
    ids=lambda each: str(each)[:30],
)
async def test_a_bad_request_is_refused_before_any_service_is_asked(
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
    reason: str,
) -> None:
    caller = FakeCaller()
    response = await ask(caller, method, path, body, headers=headers)
    assert response.status == status
    if method != "HEAD":
        told = error_of(response)
        assert (told["code"], told["reason"]) == (code, reason)
    assert ("allow" in response.headers) == (status == 405)
    assert caller.calls == []


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json;charset=UTF-8",
        'Application/JSON; Charset="utf-8"',
        "application/json; version=1",
    ],
)
async def test_json_is_taken_by_any_of_its_names(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await ask(FakeCaller(), "POST", "/login", b"{}", headers=headers)
    assert response.status == 200


async def test_an_empty_body_needs_no_media_type() -> None:
    response = await ask(FakeCaller(), "POST", "/login", headers={"content-type": "text/plain"})
    assert response.status == 200


async def test_a_body_that_is_too_large_is_refused_where_a_body_is_read() -> None:
    caller = FakeCaller()
    refused = await ask(caller, "POST", "/login", is_too_large=True)
    assert (refused.status, error_of(refused)["reason"]) == (413, "REQUEST_TOO_LARGE")
    assert caller.calls == []
    assert (await ask(caller, "POST", "/nope", is_too_large=True)).status == 404
    assert (await ask(caller, "GET", "/items", is_too_large=True)).status == 200


async def test_head_is_answered_as_get_is() -> None:
    caller = FakeCaller()
    get, head = [await ask(caller, verb, "/items") for verb in ("GET", "HEAD")]
    assert (head.status, head.body) == (get.status, get.body) == (200, b'{"items":[]}')
    assert "cache-control" not in get.headers


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
    told = response.headers["x-request-id"]
    assert (told == given) is is_kept
    assert caller.calls[0].metadata["x-request-id"] == told


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


async def test_only_what_a_service_needs_is_passed_on() -> None:
    caller = FakeCaller()
    sent = {"cookie": "a", "x-forwarded-for": "198.51.100.7", "x-client-address": "198.51.100.7"}
    await ask(caller, "GET", "/currency", headers={**TOKEN, **sent})
    metadata = caller.calls[0].metadata
    assert set(metadata) == {"authorization", "x-client-address", "x-request-id", "traceparent"}
    assert metadata["x-client-address"] == "192.0.2.1"


async def test_cancelling_the_answer_cancels_the_call() -> None:
    caller = FakeCaller(wait_seconds=30)
    answering = asyncio.create_task(gateway(caller).answer(http_request("GET", "/items")))
    await caller.called.wait()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert caller.cancelled_count == 1


async def test_a_callers_own_deadline_counts_the_time_that_its_body_took() -> None:
    caller = FakeCaller()
    for headers, left_seconds in (({"grpc-timeout": "4S"}, 1.0), ({}, 5.0)):
        headers = {**TOKEN, **headers}
        await ask(caller, "POST", "/logout", b"{}", headers=headers, waited_seconds=3.0)
        assert caller.calls[-1].remaining_seconds == pytest.approx(left_seconds, abs=0.2)


async def test_requests_beyond_the_bound_are_told_to_come_back() -> None:
    caller = FakeCaller(wait_seconds=0.05)
    serving = gateway(caller, max_in_flight=2)
    answers = await asyncio.gather(
        *(answer_of(serving, http_request("GET", "/items")) for _ in range(3))
    )
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "1"
    assert (await answer_of(serving, http_request("GET", "/items"))).status == 200


async def test_what_could_not_be_read_is_refused_by_the_json_error() -> None:
    response = gateway(FakeCaller()).refuse(HeadTooLarge(64))
    headers = dict(response.headers)
    body = orjson.loads(response.body)
    assert (response.status, body["reason"]) == (431, "HEAD_TOO_LARGE")
    assert body["requestId"] == headers["x-request-id"]
    assert headers["x-content-type-options"] == "nosniff"


async def test_the_integers_of_an_answer_are_numbers() -> None:
    answer = account_pb2.GetCurrencyResponse(user_id="u", currency_balance=2**53 - 1)
    caller = FakeCaller({"/account.v1.AccountService/GetCurrency": answer.SerializeToString()})
    response = await ask(caller, "GET", "/currency", headers=TOKEN)
    assert response.body == b'{"userId":"u","currencyBalance":9007199254740991}'


async def test_want_of_room_is_told_before_the_body_is_parsed() -> None:
    caller = FakeCaller(refusal=Overloaded("Come back.", retry_after_seconds=1.2))
    answer = await ask(caller, "POST", "/login", b"not even JSON")
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")
    assert error_of(answer)["reason"] == "OVERLOADED"
    assert caller.calls == []
