"""The limits of a request, the key that it counts for, and the headers of its answer."""

import base64
from dataclasses import replace
from typing import Any

import orjson
import pytest
import structlog

from gateway_http.app import Gateway
from gateway_http.config import ADDRESS, PLAYER, SIGN_IN
from gateway_http.describing.pages import Presence
from gateway_http.edge.client_address import ClientAddresses, parse_networks
from gateway_http.edge.edge import Edge
from gateway_http.edge.rate_limits.counters import Counters
from gateway_http.edge.rate_limits.limiter import RateLimiter
from gateway_http.edge.rate_limits.policy import Policy
from gateway_http.edge.rate_limits.token_keys import TokenKeys
from gateway_http.edge.response_headers import ResponseHeaders
from gateway_http.exchange import LimitClass
from mesh.errors import Unauthenticated
from tests.unit.gateway.fakes import (
    Answer,
    FakeCaller,
    answer_of,
    counted_ids,
    http_request,
    router_for,
)

CURRENCY = "/account.v1.AccountService/GetCurrency"
PLAYER_QUOTA, SIGN_IN_QUOTA, ADDRESS_QUOTA = 3, 2, 8


def token(subject: str, signature: str = "s") -> dict[str, str]:
    claims = base64.urlsafe_b64encode(orjson.dumps({"sub": subject})).rstrip(b"=").decode()
    return {"authorization": f"Bearer e30.{claims}.{signature}"}


def _counters(policy: Policy, quota: int) -> Counters:
    small = replace(policy, quota=quota, window_seconds=10)
    return Counters(small, lambda: 1_700_000_000.0)


class Limited:
    """A gateway with small limits and a stopped clock."""

    def __init__(self, caller: FakeCaller | None = None) -> None:
        addresses = ClientAddresses(parse_networks("127.0.0.0/8"))
        self.refused: list[str] = []
        self.token_keys = TokenKeys()
        limiter = RateLimiter(
            {
                LimitClass.ADDRESS: _counters(ADDRESS, ADDRESS_QUOTA),
                LimitClass.SIGN_IN: _counters(SIGN_IN, SIGN_IN_QUOTA),
                LimitClass.PLAYER: _counters(PLAYER, PLAYER_QUOTA),
            },
            self.token_keys,
            count_refusal=self.refused.append,
        )
        headers = ResponseHeaders((), addresses, hsts_seconds=0)
        self.gateway = Gateway(
            router_for(caller or FakeCaller(), presence=Presence("g", "127.0.0.1:1", lambda: 0.0)),
            edge=Edge(addresses, limiter, headers),
            max_in_flight=100,
            new_id=counted_ids(),
            log=structlog.get_logger(),
        )

    async def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        *,
        body: bytes = b"",
        client: str = "192.0.2.1:5000",
    ) -> Answer:
        request = http_request(method, path, headers=headers, body=body, client=client)
        return await answer_of(self.gateway, request)


def reason(answer: Answer) -> Any:
    return orjson.loads(answer.body)["reason"]


async def test_a_player_over_the_limit_gets_a_retry_hint() -> None:
    limited = Limited()
    limited.token_keys.believe(token("p")["authorization"])
    for left in (2, 1, 0):
        answer = await limited.ask("GET", "/currency", token("p"))
        assert answer.status == 200
        assert answer.headers["ratelimit-policy"] == '"address";q=8;w=10, "player";q=3;w=10'
        assert answer.headers["ratelimit"] == f'"player";r={left};t=10'
    refused = await limited.ask("GET", "/currency", token("p"))
    assert (refused.status, reason(refused)) == (429, "RATE_LIMITED")
    seconds = refused.headers["retry-after"]
    assert 10 <= int(seconds) <= 20
    assert refused.headers["ratelimit"] == f'"player";r=0;t={seconds}'
    assert f"by this player; try again in {seconds} s" in orjson.loads(refused.body)["message"]
    assert limited.refused == ["player"]
    assert (await limited.ask("GET", "/currency", token("q"))).status == 200


async def test_all_tokens_of_a_player_count_together_once_a_service_has_taken_them() -> None:
    limited = Limited()
    for signature in "ab":
        answer = await limited.ask("GET", "/currency", token("p", signature))
        assert answer.headers["ratelimit"] == '"player";r=2;t=10'
    answers = [await limited.ask("GET", "/currency", token("p", each)) for each in "abab"]
    assert [each.status for each in answers] == [200, 200, 200, 429]


async def test_a_forged_token_uses_up_only_its_own_quota() -> None:
    caller = FakeCaller({CURRENCY: Unauthenticated("no", reason="TOKEN_INVALID")})
    limited = Limited(caller)
    for _ in range(PLAYER_QUOTA):
        assert (await limited.ask("GET", "/currency", token("p", "forged"))).status == 401
    assert (await limited.ask("GET", "/currency", token("p", "forged"))).status == 429
    caller.answers.clear()
    elsewhere = "192.0.2.2:1"
    answers = [
        await limited.ask("GET", "/currency", token("p", "true"), client=elsewhere)
        for _ in range(PLAYER_QUOTA)
    ]
    assert {each.status for each in answers} == {200}


async def test_many_forged_tokens_fall_under_the_limit_of_their_address() -> None:
    limited = Limited(FakeCaller({CURRENCY: Unauthenticated("no", reason="TOKEN_INVALID")}))
    statuses = [
        (await limited.ask("GET", "/currency", token("p", str(number)))).status
        for number in range(ADDRESS_QUOTA + 1)
    ]
    assert statuses == [401] * ADDRESS_QUOTA + [429]


@pytest.mark.parametrize("path", ["/login", "/register"])
async def test_sign_in_is_limited_by_address(path: str) -> None:
    limited = Limited()
    body = orjson.dumps({"username": "somebody", "password": "long enough"})
    statuses = [
        (await limited.ask("POST", path, body=body, headers=token(str(number)))).status
        for number in range(SIGN_IN_QUOTA + 1)
    ]
    assert statuses == [200] * SIGN_IN_QUOTA + [429]
    refused = await limited.ask("POST", path, body=body)
    assert refused.headers["ratelimit-policy"] == '"address";q=8;w=10, "sign-in";q=2;w=10'
    assert "register or log in" in orjson.loads(refused.body)["message"]
    assert (await limited.ask("POST", path, body=body, client="192.0.2.2:1")).status == 200
    assert (await limited.ask("GET", "/items")).status == 200


@pytest.mark.parametrize("path", ["/refresh", "/logout"])
async def test_refresh_tokens_cannot_be_guessed_and_count_for_their_address_alone(
    path: str,
) -> None:
    limited = Limited()
    body = orjson.dumps({"refresh_token": "gmr_"})
    answers = [await limited.ask("POST", path, body=body) for _ in range(SIGN_IN_QUOTA + 1)]
    assert {answer.status for answer in answers} == {200}
    assert answers[0].headers["ratelimit-policy"] == '"address";q=8;w=10'


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/items", 200),
        ("GET", "/no-such-route", 404),
        ("PUT", "/items", 405),
        ("OPTIONS", "/items", 204),
        ("GET", "/currency", 401),
        ("GET", "/docs", 200),
        ("GET", "/status", 200),
        ("POST", "/webhooks/payments", 200),
    ],
)
async def test_all_other_requests_are_limited_by_address(
    method: str, path: str, status: int
) -> None:
    limited = Limited()
    answers = [await limited.ask(method, path, body=b"{}") for _ in range(ADDRESS_QUOTA + 1)]
    assert [each.status for each in answers] == [status] * ADDRESS_QUOTA + [429]
    assert answers[0].headers["ratelimit"] == '"address";r=7;t=10'
    assert "ratelimit-policy" in answers[0].headers


async def test_probes_are_never_limited() -> None:
    limited = Limited()
    for _ in range(ADDRESS_QUOTA + 1):
        for path in ("/healthz", "/readyz"):
            answer = await limited.ask("GET", path)
            assert (answer.status, "ratelimit" in answer.headers) == (200, False)


async def test_clients_behind_a_trusted_proxy_are_distinguished() -> None:
    limited = Limited()
    for number in range(ADDRESS_QUOTA + 2):
        forwarded = {"x-forwarded-for": f"10.9.9.9, 198.51.100.{number}"}
        answer = await limited.ask("GET", "/items", forwarded, client="127.0.0.1:5")
        assert answer.status == 200
    # The headers of other peers are ignored.
    statuses = [
        (await limited.ask("GET", "/items", {"x-forwarded-for": f"198.51.100.{number}"})).status
        for number in range(ADDRESS_QUOTA + 1)
    ]
    assert statuses[-1] == 429


def test_the_number_of_remembered_tokens_is_bounded() -> None:
    token_keys = TokenKeys(max_tokens=2)
    for subject in "abc":
        token_keys.believe(token(subject)["authorization"])
    assert len(token_keys) == 2
    key, is_known = token_keys.of(token("a")["authorization"])
    assert (key.partition(":")[0], is_known) == ("token", False)
    assert token_keys.of(token("c")["authorization"]) == ("player:c", True)


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer x",
        "Bearer a.b.c",
        "Bearer e30.e30.s",
        "Bearer e30.WzFd.s",
        "Bearer e30.bnVsbA.s",
        f"Bearer e30.{base64.urlsafe_b64encode(orjson.dumps({'sub': 7})).decode()}.s",
        f"Bearer e30.{base64.urlsafe_b64encode(orjson.dumps({'sub': 'x' * 500})).decode()}.s",
        "Bearer e30.\xff.s",
    ],
)
def test_a_token_without_a_subject_stands_for_itself(authorization: str) -> None:
    token_keys = TokenKeys()
    before, _ = token_keys.of(authorization)
    token_keys.believe(authorization)
    assert token_keys.of(authorization) == (before, True)
