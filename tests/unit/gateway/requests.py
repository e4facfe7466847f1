"""A gateway with a fake caller, and requests to it."""

from typing import Any

import orjson
import structlog

from gateway_http.app import Gateway
from gateway_http.compose import Limits
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
ITEMS = "/gacha.v1.CatalogService/ListItems"


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
    query: str = "",
    headers: dict[str, str] | None = None,
    is_too_large: bool = False,
    waited_seconds: float = 0.0,
) -> Answer:
    request = http_request(
        method,
        path,
        query=query,
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
