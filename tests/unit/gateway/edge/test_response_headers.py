"""Security headers on every answer, and CORS for listed origins."""

import pytest
import structlog

from gateway_http.app import Gateway
from gateway_http.edge.client_address import ClientAddresses, parse_networks
from gateway_http.edge.response_headers import ResponseHeaders
from tests.unit.gateway.fakes import (
    Answer,
    FakeCaller,
    answer_of,
    counted_ids,
    edge_of,
    http_request,
    router_for,
)

SHOP = "https://shop.example"
TOKEN = {"authorization": "Bearer t"}


async def ask(
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    body: bytes = b"",
    scheme: str = "http",
    hsts_seconds: int = 60,
) -> Answer:
    addresses = ClientAddresses(parse_networks("192.0.2.1"))
    gateway = Gateway(
        router_for(FakeCaller()),
        edge=edge_of(addresses, ResponseHeaders({SHOP}, addresses, hsts_seconds=hsts_seconds)),
        max_in_flight=100,
        new_id=counted_ids(),
        log=structlog.get_logger(),
    )
    request = http_request(method, path, headers=headers, body=body, scheme=scheme)
    return await answer_of(gateway, request)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/items", 200),
        ("GET", "/currency", 401),
        ("GET", "/nope", 404),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("OPTIONS", "/items", 204),
        ("GET", "/healthz", 200),
    ],
)
async def test_every_answer_has_the_security_headers(method: str, path: str, status: int) -> None:
    answer = await ask(method, path)
    assert answer.status == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert ("script-src" in policy) == (path == "/docs")
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger-ui-bundle.js", "/items", "/nope"])
async def test_a_header_is_sent_once(path: str) -> None:
    names = [name for name, _ in (await ask("GET", path)).header_list if name != "vary"]
    assert len(names) == len(set(names)) > 5


async def test_answers_with_tokens_are_never_stored() -> None:
    body = b'{"username": "somebody", "password": "long enough"}'
    assert (await ask("POST", "/login", body=body)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("scheme", "headers", "hsts_seconds", "value"),
    [
        ("https", {}, 60, "max-age=60"),
        ("https", {}, 0, None),
        ("http", {}, 60, None),
        ("http", {"x-forwarded-proto": "https"}, 60, "max-age=60"),
        ("http", {"x-forwarded-proto": "http"}, 60, None),
    ],
)
async def test_only_tls_is_made_a_must(
    scheme: str, headers: dict[str, str], hsts_seconds: int, value: str | None
) -> None:
    answer = await ask("GET", "/items", headers, scheme=scheme, hsts_seconds=hsts_seconds)
    assert answer.headers.get("strict-transport-security") == value


@pytest.mark.parametrize("path", ["/items", "/nope", "/docs"])
async def test_a_listed_origin_may_read_answers_and_others_not(path: str) -> None:
    answer = await ask("GET", path, {"origin": SHOP})
    assert answer.headers["access-control-allow-origin"] == SHOP
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {
        "etag",
        "idempotency-key",
        "x-request-id",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
    } == set(exposed)
    assert ("vary", "origin") in answer.header_list
    assert "access-control-allow-credentials" not in answer.headers
    for other in ({}, {"origin": "https://evil.example"}, {"origin": f"{SHOP}.evil.example"}):
        answer = await ask("GET", path, other)
        assert "access-control-allow-origin" not in answer.headers
        assert ("vary", "origin") in answer.header_list


async def test_preflights_are_answered_for_listed_origins() -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x"}
    answer = await ask("OPTIONS", "/gacha/pull/standard", {"origin": SHOP, **asked})
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert answer.headers["access-control-allow-methods"] == "GET, OPTIONS, POST"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "idempotency-key"} <= set(allowed)
    for headers in ({"origin": "https://evil.example", **asked}, {"origin": SHOP}, {}):
        answer = await ask("OPTIONS", "/gacha/pull/standard", headers)
        assert "access-control-allow-methods" not in answer.headers
