"""The gateway's answers to bad requests, and to errors of services."""

import asyncio
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from gateway_http.errors import STATUS_BY_CODE, HeadTooLarge
from mesh.errors import (
    BY_CODE,
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    MeshError,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from tests.unit.gateway.fakes import (
    FakeCaller,
    answer_of,
    http_request,
)
from tests.unit.gateway.requests import BUY, ITEMS, TOKEN, ask, error_of, gateway


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
            InvalidArgument.of_fields(
                FieldViolation("payment_method", "must be short"), FieldViolation("amount", "is 0")
            ),
            400,
            {
                "message": "paymentMethod must be short; amount is 0",
                "fields": [
                    {"field": "paymentMethod", "message": "must be short"},
                    {"field": "amount", "message": "is 0"},
                ],
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
async def test_an_error_of_a_service_is_worded_for_rest(
    error: MeshError, status: int, expected: dict[str, Any]
) -> None:
    response = await ask(FakeCaller({BUY: error}), "POST", "/buy-currency", headers=TOKEN)
    assert response.status == status
    body = error_of(response)
    assert {name: body[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("error", "details"),
    [
        (
            FailedPrecondition("No.", metadata={"price_gems": "5", "idempotency_key": "k"}),
            {"priceGems": "5"},
        ),
        (NotFound("No.", metadata={"banner_id": "b", "method": "/a.B/C"}), {"bannerId": "b"}),
        (InvalidArgument.of_field("amount", "is 0"), None),
        (Unavailable("No.", metadata={"cause": "secret"}), None),
        (Internal("No.", metadata={"cause": "secret"}), None),
    ],
)
async def test_only_values_that_are_meant_for_clients_are_in_the_details(
    error: MeshError, details: dict[str, str] | None
) -> None:
    response = await ask(FakeCaller({BUY: error}), "POST", "/buy-currency", headers=TOKEN)
    assert orjson.loads(response.body).get("details") == details


async def test_busy_says_when_to_come_back() -> None:
    error = ResourceExhausted("Busy.", retry_after_seconds=1.2)
    response = await ask(FakeCaller({ITEMS: error}), "GET", "/items")
    assert (response.status, response.headers["retry-after"]) == (429, "2")


@pytest.mark.parametrize("error", [Internal("secret"), MeshError("secret"), ValueError("secret")])
async def test_an_internal_error_shows_only_its_trace_id(error: Exception) -> None:
    with capture_logs() as logs:
        response = await ask(FakeCaller({ITEMS: error}), "GET", "/items")
    assert response.status == 500
    body = error_of(response)
    assert body["code"] == "INTERNAL"
    assert b"secret" not in response.body
    assert body["message"] == f"Internal error; quote trace id {body['traceId']}."
    assert [line["trace_id"] for line in logs] == [body["traceId"]]


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


async def test_requests_beyond_the_bound_get_a_retry_hint() -> None:
    caller = FakeCaller(wait_seconds=0.05)
    serving = gateway(caller, max_in_flight=2)
    answers = await asyncio.gather(
        *(answer_of(serving, http_request("GET", "/items")) for _ in range(3))
    )
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "1"
    assert (await answer_of(serving, http_request("GET", "/items"))).status == 200


async def test_an_unreadable_request_gets_the_json_error() -> None:
    response = gateway(FakeCaller()).refuse(HeadTooLarge(64))
    headers = dict(response.headers)
    body = orjson.loads(response.body)
    assert (response.status, body["reason"]) == (431, "HEAD_TOO_LARGE")
    assert body["requestId"] == headers["x-request-id"]
    assert headers["x-content-type-options"] == "nosniff"
