"""The players of a run and their tokens, registered through REST with enough gems.

A new player costs two password hashes, so all points use the same players.
"""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from proof.bench.errors import BenchFailed

GEMS = 1_000_000_000
PASSWORD = "a long password of the bench"
MAKERS = 4
TIMEOUT_SECONDS = 30.0
ATTEMPTS = 20
PAUSE_SECONDS = 0.5
"""Before a request that was refused for now, or late, is sent again."""
AROUND_SECONDS = 60.0
"""More than the work around a window takes, even on a busy machine."""


_FOR_NOW = (
    httpx.codes.TOO_MANY_REQUESTS,
    httpx.codes.SERVICE_UNAVAILABLE,
    httpx.codes.GATEWAY_TIMEOUT,
)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """The tokens of one player. `good_until` is a time of the clock."""

    username: str
    access: str
    refresh: str
    good_until: float

    @classmethod
    def of(cls, username: str, answer: dict[str, Any], asked_at: float) -> "_Tokens":
        """The tokens in the answer of a login or a refresh."""
        good_until = asked_at + answer["expires_in"]
        return cls(username, answer["token"], answer["refresh_token"], good_until)


class TokenPool:
    """The players of one mesh and their tokens, which are refreshed when they are taken."""

    def __init__(
        self,
        gateway: str,
        trust: ssl.SSLContext | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """`trust` verifies the gateway's certificate."""
        self._pause_seconds = pause_seconds
        self._gateway, self._trust = gateway, trust
        self._clock = clock
        self._tokens: list[_Tokens] = []

    def make(self, count: int) -> Iterator[None]:
        """Yields after each new player. Raises BenchFailed."""
        with self._client() as client, ThreadPoolExecutor(MAKERS) as makers:
            for tokens in makers.map(lambda _: self._make(client), range(count)):
                self._tokens.append(tokens)
                yield

    def tokens(self, seconds: float) -> Sequence[str]:
        """A token of each player, valid for a window of `seconds`. Raises BenchFailed."""
        seconds += AROUND_SECONDS
        with self._client() as client, ThreadPoolExecutor(MAKERS) as makers:
            self._tokens = list(
                makers.map(lambda tokens: self._refreshed(client, tokens, seconds), self._tokens)
            )
        return [tokens.access for tokens in self._tokens]

    @property
    def usernames(self) -> Sequence[str]:
        """In the order of `tokens`."""
        return [tokens.username for tokens in self._tokens]

    def post_each(
        self, path: str, body: Mapping[str, object], tokens: Sequence[str]
    ) -> Sequence[dict[str, Any]]:
        """The answers to a request of each of the players. Raises BenchFailed."""
        with self._client() as client, ThreadPoolExecutor(MAKERS) as makers:
            return list(makers.map(lambda token: self._post(client, path, body, token), tokens))

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self._gateway,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            verify=self._trust or True,
        )

    def _make(self, client: httpx.Client) -> _Tokens:
        name = f"bench-{uuid4().hex[:20]}"
        credentials = {"username": name, "password": PASSWORD}
        self._post(client, "/register", credentials | {"email": f"{name}@example.com"})
        asked_at = self._clock()
        tokens = _Tokens.of(name, self._post(client, "/login", credentials), asked_at)
        purchase = {"amount": GEMS, "paymentMethod": "credit_card"}
        self._post(client, "/buy-currency", purchase, tokens.access)
        return tokens

    def _refreshed(self, client: httpx.Client, tokens: _Tokens, seconds: float) -> _Tokens:
        now = self._clock()
        if tokens.good_until - now > seconds:
            return tokens
        answer = self._post(client, "/refresh", {"refresh_token": tokens.refresh})
        refreshed = _Tokens.of(tokens.username, answer, now)
        if refreshed.good_until - now <= seconds:
            raise BenchFailed(f"Tokens last for less than {seconds:.0f} s: measure less at once.")
        return refreshed

    def _post(
        self, client: httpx.Client, path: str, body: Mapping[str, object], token: str = ""
    ) -> dict[str, Any]:
        """The answer. Sends the request again, with its key, if it is refused for now or late: a
        busy machine hashes few passwords a second. Raises BenchFailed."""
        headers = {"idempotency-key": uuid4().hex}
        if token:
            headers["authorization"] = f"Bearer {token}"
        for _ in range(ATTEMPTS):
            try:
                answer = client.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                raise BenchFailed(f"POST {path} had no answer: {error}") from error
            if answer.status_code not in _FOR_NOW:
                break
            time.sleep(self._pause_seconds)
        if answer.status_code != httpx.codes.OK:
            raise BenchFailed(f"POST {path} was answered {answer.status_code}: {answer.text}")
        fields: dict[str, Any] = answer.json()
        return fields
