"""The requests of the load: each scenario is one request that is sent repeatedly."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """`body` is JSON, empty for none; `is_keyed` sends a new Idempotency-Key each time.

    `name` is the name for `--only`, `title` the one in tables. An answer without the text
    `expected` is an error: it would be one that says pending.
    """

    name: str
    title: str
    method: str
    path: str
    body: str = ""
    is_keyed: bool = False
    expected: str = ""


PULLS = Scenario(
    "pulls",
    "POST /gacha/pull",
    "POST",
    "/gacha/pull/standard",
    body='{"count":1}',
    is_keyed=True,
)
ITEMS = Scenario("items", "GET /items", "GET", "/items")
BANNERS = Scenario("banners", "GET /banners", "GET", "/banners")
CURRENCY = Scenario("currency", "GET /currency", "GET", "/currency")


PURCHASES = Scenario(
    "purchases",
    "POST /buy-currency",
    "POST",
    "/buy-currency",
    body='{"amount":1,"paymentMethod":"credit_card"}',
    is_keyed=True,
    expected='"newBalance"',
)
GIFTS = Scenario(
    "gifts",
    "POST /gifts",
    "POST",
    "/gifts",
    is_keyed=True,
    expected='"state":"delivered"',
)
"""Each request has a body of its own: see `proof.bench.players.gift_pairs`."""


def request_head(scenario: Scenario, host: str, token: str, body: str | None = None) -> str:
    """The request of one player up to the end of its last header. `body` is the player's own,
    instead of the scenario's."""
    body = scenario.body if body is None else body
    lines = [
        f"{scenario.method} {scenario.path} HTTP/1.1",
        f"host: {host}",
        f"authorization: Bearer {token}",
    ]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "".join(f"{line}\r\n" for line in lines)


def requests_of(requests: Sequence[tuple[str, str]], key: str) -> Iterator[bytes]:
    """An endless iterator of whole requests, by each player in turn; their constant parts are
    prepared once. `requests` has a head and a body for each player. `key` is the prefix of the
    idempotency keys, followed by 0, 1, 2 ...; an empty one sends no keys."""
    if not key:
        yield from itertools.cycle([f"{head}\r\n{body}".encode() for head, body in requests])
    parts = itertools.cycle(
        [(f"{head}idempotency-key: {key}".encode(), body.encode()) for head, body in requests]
    )
    for turn, (beginning, body) in enumerate(parts):
        yield b"%s%d\r\n\r\n%s" % (beginning, turn, body)
