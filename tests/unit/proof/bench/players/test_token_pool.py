"""The players of the bench stay logged in."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from proof.bench.errors import BenchFailed
from proof.bench.players.token_pool import AROUND_SECONDS, ATTEMPTS, TokenPool

TOKEN_SECONDS = 900


class Gateway(ThreadingHTTPServer):
    """Issues tokens; each refresh token works once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.current: set[str] = set()
        self.count = 0
        self.busy_count, self.busy_status = 0, 429
        """The number of requests to be refused for now."""
        self.keys: list[str] = []

    def tokens(self) -> dict[str, Any]:
        self.count += 1
        refresh_token = f"refresh-{self.count}"
        self.current.add(refresh_token)
        return {
            "token": f"token-{self.count}",
            "refresh_token": refresh_token,
            "expires_in": TOKEN_SECONDS,
        }


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.keys.append(self.headers["idempotency-key"])
        answer: dict[str, Any] = {}
        if self.path == "/refresh":
            self.server.current.remove(asked["refresh_token"])
        if self.path in ("/login", "/refresh"):
            answer = self.server.tokens()
        body = json.dumps(answer).encode()
        self.send_response(200 if self.server.busy_count == 0 else self.server.busy_status)
        self.server.busy_count = max(0, self.server.busy_count - 1)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Logs nothing."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def players(gateway: Gateway, clock: Clock) -> TokenPool:
    made = TokenPool(
        f"http://127.0.0.1:{gateway.server_port}", None, clock=clock, pause_seconds=0.0
    )
    assert len(list(made.make(3))) == 3
    return made


def test_tokens_that_last_are_used_again(players: TokenPool, clock: Clock) -> None:
    first = players.tokens(10)
    clock.now = TOKEN_SECONDS - AROUND_SECONDS - 11
    assert players.tokens(10) == first
    assert sorted(first) == ["token-1", "token-2", "token-3"]


def test_tokens_that_would_not_last_are_refreshed_over_and_over(
    players: TokenPool, clock: Clock
) -> None:
    seen = set(players.tokens(10))
    for _ in range(3):
        clock.now += TOKEN_SECONDS - AROUND_SECONDS - 10
        tokens = players.tokens(10)
        assert len(tokens) == 3
        assert not seen & set(tokens)
        seen |= set(tokens)


def test_a_window_longer_than_a_token_lasts_is_refused(players: TokenPool) -> None:
    with pytest.raises(BenchFailed, match="measure less at once"):
        players.tokens(TOKEN_SECONDS)


@pytest.mark.parametrize("status", [429, 503, 504])
def test_a_busy_machine_is_waited_for_but_not_for_ever(
    gateway: Gateway, players: TokenPool, status: int
) -> None:
    gateway.busy_count, gateway.busy_status = ATTEMPTS - 1, status
    gateway.keys.clear()
    assert players.post_each("/gacha/pull/standard", {}, ["token-1"]) == [{}]
    assert len(gateway.keys) == ATTEMPTS
    assert len(set(gateway.keys)) == 1, "a repeat has the key of the first"
    gateway.busy_count = ATTEMPTS
    with pytest.raises(BenchFailed, match=str(status)):
        players.post_each("/gacha/pull/standard", {}, ["token-1"])
    assert len(set(gateway.keys)) == 2, "another request has another key"


def test_a_refusal_for_good_is_an_error_at_once(gateway: Gateway, players: TokenPool) -> None:
    gateway.busy_count, gateway.busy_status = 1, 403
    with pytest.raises(BenchFailed, match="403"):
        players.post_each("/gacha/pull/standard", {}, ["token-1"])
