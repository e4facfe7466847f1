"""What the gateway answers to bad requests, and to errors of services."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway_http.errors import STATUS_BY_CODE
from mesh.errors import (
    BY_CODE,
    AlreadyExists,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    MeshError,
    ResourceExhausted,
)
from tests.unit.gateway.fakes import (
    FakeCaller,
    FakeProtocol,
    FakeScope,
)
from tests.unit.gateway.requests import TOKEN, ask, error_of, gateway

BUY = "/account.v1.AccountService/BuyCurrency"


ITEMS = "/gacha.v1.CatalogService/ListItems"


@pytest.mark.parametrize("code", list(BY_CODE), ids=lambda code: code.name)
async def test_an_error_of_a_service_has_the_status_of_its_code(code: Any) -> None:
    error = BY_CODE[code]("Something is so.", reason="SOME_REASON")
    protocol = await ask(FakeCaller({ITEMS: error}), "GET", "/items")
    assert protocol.status == STATUS_BY_CODE[code]
    body = error_of(protocol)
    assert (body["code"], "fields" in body) == (code.name, False)
    assert ("www-authenticate" in protocol.headers) == (protocol.status == 401)


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
    protocol = await ask(FakeCaller({BUY: error}), "POST", "/buy-currency", headers=TOKEN)
    assert protocol.status == status
    body = error_of(protocol)
    assert {name: body[name] for name in expected} == expected


async def test_busy_says_when_to_come_back() -> None:
    error = ResourceExhausted("Busy.", retry_after_seconds=1.2)
    protocol = await ask(FakeCaller({ITEMS: error}), "GET", "/items")
    assert (protocol.status, protocol.headers["retry-after"]) == (429, "2")


@pytest.mark.parametrize("error", [Internal("secret"), MeshError("secret"), ValueError("secret")])
async def test_what_is_our_fault_is_told_by_its_trace_id_alone(error: Exception) -> None:
    with capture_logs() as logs:
        protocol = await ask(FakeCaller({ITEMS: error}), "GET", "/items")
    assert protocol.status == 500
    body = error_of(protocol)
    assert body["code"] == "INTERNAL"
    assert b"secret" not in protocol.body
    assert body["message"] == f"Internal error; quote trace id {body['traceId']}."
    assert [line["trace_id"] for line in logs] == [body["traceId"]]


async def test_an_answer_that_cannot_be_read_is_our_fault() -> None:
    protocol = await ask(FakeCaller({ITEMS: b"\xff"}), "GET", "/items")
    assert (protocol.status, error_of(protocol)["code"]) == (500, "INTERNAL")


BAD_REQUESTS = [
    ("GET", "/nope", b"", {}, 404, "NOT_FOUND", "ROUTE_NOT_FOUND"),
    ("POST", "/login/", b"{}", {}, 404, "NOT_FOUND", "ROUTE_NOT_FOUND"),
    ("DELETE", "/login", b"", {}, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED"),
    ("HEAD", "/gacha/pull/b", b"", TOKEN, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED"),
    ("POST", "/login", b"{", {}, 400, "INVALID_ARGUMENT", "MALFORMED_BODY"),
    ("POST", "/login", b"[]", {}, 400, "INVALID_ARGUMENT", "MALFORMED_BODY"),
    ("POST", "/login", b'{"user":1}', {}, 400, "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("POST", "/login", b" " * 1025, {}, 413, "OUT_OF_RANGE", "REQUEST_TOO_LARGE"),
    (
        *("POST", "/login", b"{}", {"content-length": "1025"}),
        *(413, "OUT_OF_RANGE", "REQUEST_TOO_LARGE"),
    ),
    (
        *("POST", "/login", b"{}", {"content-length": "9" * 5000}),
        *(413, "OUT_OF_RANGE", "REQUEST_TOO_LARGE"),
    ),
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
    protocol = await ask(caller, method, path, body, headers=headers)
    assert protocol.status == status
    if method != "HEAD":
        told = error_of(protocol)
        assert (told["code"], told["reason"]) == (code, reason)
    assert ("allow" in protocol.headers) == (status == 405)
    assert caller.calls == []


async def test_requests_beyond_the_bound_are_told_to_come_back() -> None:
    caller = FakeCaller(wait_seconds=0.05)
    serving = gateway(caller, max_in_flight=2)
    protocols = [FakeProtocol() for _ in range(3)]
    await asyncio.gather(
        *(serving.__rsgi__(FakeScope("GET", "/items"), protocol) for protocol in protocols)
    )
    assert [protocol.status for protocol in protocols] == [200, 200, 429]
    assert protocols[2].headers["retry-after"] == "1"
    again = FakeProtocol()
    await serving.__rsgi__(FakeScope("GET", "/items"), again)
    assert again.status == 200
