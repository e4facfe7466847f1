"""The limits of a request, the key that it counts for, and the headers of its answer."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway_http.app import Gateway
from gateway_http.config import ADDRESS, PLAYER, SIGN_IN
from gateway_http.describing.pages import Presence
from gateway_http.edge.client_address import ClientAddresses, parse_networks
from gateway_http.edge.rate_limits.counters import Counters
from gateway_http.edge.rate_limits.limiter import RateLimiter
from gateway_http.edge.rate_limits.policy import Policy
from gateway_http.edge.response_headers import ResponseHeaders
from gateway_http.edge.token_keys import TokenKeys
from gateway_http.exchange import LimitClass
from mesh.errors import Unauthenticated, Unavailable
from mesh.identity.keys import fixed_known_keys
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner
from tests.unit.gateway.fakes import (
    Answer,
    FakeCaller,
    answer_of,
    counted_ids,
    edge_of,
    http_request,
    router_for,
)

CURRENCY = "/account.v1.AccountService/GetCurrency"
PLAYER_QUOTA, SIGN_IN_QUOTA, ADDRESS_QUOTA = 3, 2, 8


NOW = 1_700_000_000.0
LIFETIME_SECONDS = 900
SIGNING_KEY = Ed25519PrivateKey.generate()
PLAYERS = {name: str(uuid4()) for name in "pqabc"}


def token(player: str, key: Ed25519PrivateKey = SIGNING_KEY, *, age: float = 0.0) -> dict[str, str]:
    """The header of a token of that player, as long ago as `age` says; each one differs."""
    signer = TokenSigner(key, PLAYER_AUDIENCE, LIFETIME_SECONDS, lambda: NOW - age)
    return {"authorization": f"Bearer {signer.sign(PLAYERS[player], sid=str(uuid4()))}"}


def _counters(policy: Policy, quota: int) -> Counters:
    small = replace(policy, quota=quota, window_seconds=10)
    return Counters(small, lambda: NOW)


class Limited:
    """A gateway with small limits and a stopped clock."""

    def __init__(self, caller: FakeCaller | None = None) -> None:
        addresses = ClientAddresses(parse_networks("127.0.0.0/8"))
        self.refused: list[str] = []
        keys = fixed_known_keys(SIGNING_KEY.public_key())
        limiter = RateLimiter(
            {
                LimitClass.ADDRESS: _counters(ADDRESS, ADDRESS_QUOTA),
                LimitClass.SIGN_IN: _counters(SIGN_IN, SIGN_IN_QUOTA),
                LimitClass.PLAYER: _counters(PLAYER, PLAYER_QUOTA),
            },
            count_refusal=self.refused.append,
        )
        headers = ResponseHeaders((), addresses, hsts_seconds=0)
        self.gateway = Gateway(
            router_for(caller or FakeCaller(), presence=Presence("g", "127.0.0.1:1", lambda: 0.0)),
            edge=edge_of(addresses, headers, player_keys=keys, clock=lambda: NOW, limiter=limiter),
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


@pytest.mark.parametrize(
    "answer", [b"", Unavailable("away"), Unauthenticated("ended", reason="TOKEN_INVALID")]
)
async def test_new_tokens_bring_no_new_quota_also_while_calls_fail(
    answer: bytes | Exception,
) -> None:
    limited = Limited(FakeCaller({CURRENCY: answer}))
    left = []
    for _ in range(PLAYER_QUOTA):
        asked = await limited.ask("GET", "/currency", token("p"))
        left.append(asked.headers["ratelimit"].split(";")[1])
    assert left == ["r=2", "r=1", "r=0"]
    assert (await limited.ask("GET", "/currency", token("p"))).status == 429


@pytest.mark.parametrize(
    "spelled",
    ["bearer {}", "BEARER {}", "Bearer  {}", "Bearer      {}", "Bearer {} ", "bEaReR   {}  "],
)
async def test_another_spelling_of_the_header_brings_no_new_quota(spelled: str) -> None:
    limited = Limited()
    header = token("p")
    for _ in range(PLAYER_QUOTA):
        assert (await limited.ask("GET", "/currency", header)).status == 200
    _, _, text = header["authorization"].partition(" ")
    again = {"authorization": spelled.format(text)}
    assert (await limited.ask("GET", "/currency", again)).status == 429


@pytest.mark.parametrize(
    "stolen",
    [token("p", Ed25519PrivateKey.generate()), token("p", age=901)],
    ids=["forged", "expired"],
)
async def test_a_token_that_is_not_valid_uses_up_nobodys_quota(stolen: dict[str, str]) -> None:
    limited = Limited(FakeCaller({CURRENCY: Unauthenticated("no", reason="TOKEN_INVALID")}))
    answers = [await limited.ask("GET", "/currency", stolen) for _ in range(ADDRESS_QUOTA)]
    assert [each.status for each in answers] == [401] * ADDRESS_QUOTA
    assert (await limited.ask("GET", "/currency", stolen)).status == 429
    elsewhere = "192.0.2.2:1"
    own = await limited.ask("GET", "/currency", token("p"), client=elsewhere)
    assert own.headers["ratelimit"] == '"player";r=2;t=10'


@pytest.mark.parametrize("path", ["/login", "/register"])
async def test_sign_in_is_limited_by_address(path: str) -> None:
    limited = Limited()
    body = orjson.dumps({"username": "somebody", "password": "long enough"})
    statuses = [
        (await limited.ask("POST", path, body=body, headers=token("pqabc"[number]))).status
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


async def test_a_token_that_was_forgotten_is_verified_again() -> None:
    asked: list[str] = []
    find = fixed_known_keys(SIGNING_KEY.public_key())

    def counting(kid: str) -> Ed25519PublicKey | None:
        asked.append(kid)
        return find(kid)

    token_keys = TokenKeys(counting, clock=lambda: NOW, max_tokens=2)
    headers = {player: token(player)["authorization"] for player in "abc"}
    for player, header in [*headers.items(), ("a", headers["a"])]:
        assert token_keys.known(header) is None
        assert await token_keys.of(header) == f"player:{PLAYERS[player]}"
    assert len(asked) == 4
    assert token_keys.known(headers["a"]) == f"player:{PLAYERS['a']}"


@pytest.mark.parametrize("spelling", ["bearer {}", "Bearer  {}", "Bearer {} ", "BEARER {}"])
async def test_one_spelling_of_a_token_alone_is_remembered(spelling: str) -> None:
    token_keys = TokenKeys(fixed_known_keys(SIGNING_KEY.public_key()), clock=lambda: NOW)
    header = token("p")["authorization"]
    other = spelling.format(header.removeprefix("Bearer "))
    assert await token_keys.of(other) == f"player:{PLAYERS['p']}"
    assert token_keys.known(other) is None


async def test_a_known_token_is_known_no_longer_once_it_has_expired() -> None:
    now = NOW
    token_keys = TokenKeys(fixed_known_keys(SIGNING_KEY.public_key()), clock=lambda: now)
    header = token("p")["authorization"]
    assert await token_keys.of(header) == token_keys.known(header) == f"player:{PLAYERS['p']}"
    now += LIFETIME_SECONDS
    assert token_keys.known(header) is None
    assert await token_keys.of(header) is None


async def test_a_token_counts_for_nobody_once_its_key_is_withdrawn() -> None:
    key: Ed25519PublicKey | None = SIGNING_KEY.public_key()

    token_keys = TokenKeys(lambda _kid: key, clock=lambda: NOW)
    header = token("p")["authorization"]
    assert await token_keys.of(header) == f"player:{PLAYERS['p']}"
    key = None
    assert token_keys.known(header) is None
    assert await token_keys.of(header) is None


@pytest.mark.parametrize("authorization", ["Bearer x", "Bearer a.b.c", "Basic eA==", "Bearer"])
async def test_a_header_without_a_token_names_nobody(authorization: str) -> None:
    token_keys = TokenKeys(fixed_known_keys(SIGNING_KEY.public_key()), clock=lambda: NOW)
    assert await token_keys.of(authorization) is None
