"""The requests of the load: each scenario is one request that is sent repeatedly."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """`body` is JSON, empty for none; `is_keyed` sends a new Idempotency-Key each time.

    `name` is the name for `--only`, `title` the one in tables.
    """

    name: str
    title: str
    method: str
    path: str
    body: str = ""
    is_keyed: bool = False


PULLS = Scenario(
    "pulls",
    "POST /gacha/pull",
    "POST",
    "/gacha/pull/standard",
    body='{"count":1}',
    is_keyed=True,
)
ITEMS = Scenario("items", "GET /items", "GET", "/items")
CURRENCY = Scenario("currency", "GET /currency", "GET", "/currency")


def request_head(scenario: Scenario, host: str, token: str) -> str:
    """The request of one player up to the end of its last header."""
    lines = [
        f"{scenario.method} {scenario.path} HTTP/1.1",
        f"host: {host}",
        f"authorization: Bearer {token}",
    ]
    if scenario.body:
        lines += ["content-type: application/json", f"content-length: {len(scenario.body)}"]
    return "".join(f"{line}\r\n" for line in lines)


def requests_of(heads: Sequence[bytes], key: str, body: bytes) -> Iterator[bytes]:
    """An endless iterator of whole requests, by each player in turn; their constant parts are
    prepared once. `key` is the prefix of the idempotency keys, followed by 0, 1, 2 ...; an
    empty one sends no keys."""
    if not key:
        yield from itertools.cycle([b"%s\r\n%s" % (head, body) for head in heads])
    beginnings = itertools.cycle(
        [b"%sidempotency-key: %s" % (head, key.encode()) for head in heads]
    )
    for turn, beginning in enumerate(beginnings):
        yield b"%s%d\r\n\r\n%s" % (beginning, turn, body)
