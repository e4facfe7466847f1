"""A gateway over a fake caller, and requests to it."""

from typing import Any

import orjson
import structlog

from gateway_http.app import Gateway
from gateway_http.compose import Limits
from tests.unit.gateway.fakes import (
    LIMITS,
    FakeCaller,
    FakeProtocol,
    FakeScope,
    calls_router,
    counted_ids,
    plain_edge,
)

BUY = "/account.v1.AccountService/BuyCurrency"
ITEMS = "/gacha.v1.CatalogService/ListItems"
TOKEN = {"authorization": "Bearer t"}


def gateway(caller: FakeCaller, max_in_flight: int = 100, limits: Limits = LIMITS) -> Gateway:
    return Gateway(
        calls_router(caller, limits),
        edge=plain_edge(),
        is_leaving=lambda: False,
        max_body_bytes=1024,
        max_in_flight=max_in_flight,
        new_id=counted_ids(),
        log=structlog.get_logger(),
    )


async def ask(
    caller: FakeCaller,
    method: str,
    path: str,
    *chunks: bytes,
    query: str = "",
    headers: dict[str, str] | None = None,
) -> FakeProtocol:
    protocol = FakeProtocol(*chunks)
    scope = FakeScope(method, path, query, headers or {})
    await gateway(caller).__rsgi__(scope, protocol)
    assert protocol.status != 0
    return protocol


def error_of(protocol: FakeProtocol) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(protocol.body)
    assert list(body)[:5] == ["status", "message", "code", "reason", "requestId"]
    assert body["status"] == "error"
    assert body["requestId"] == protocol.headers["x-request-id"]
    assert protocol.headers["content-type"] == "application/json"
    assert protocol.headers["content-length"] == str(len(protocol.body))
    assert protocol.headers["cache-control"] == "no-store"
    return body
