"""What a player asks for: each scenario is one request that is sent again and again."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """`body` is JSON, empty for none; `is_keyed` sends an Idempotency-Key, new each time.

    `name` is what `--only` calls it, `title` what it is called in tables.
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
    """The request of one player up to its last header's end."""
    lines = [
        f"{scenario.method} {scenario.path} HTTP/1.1",
        f"host: {host}",
        f"authorization: Bearer {token}",
    ]
    if scenario.body:
        lines += ["content-type: application/json", f"content-length: {len(scenario.body)}"]
    return "".join(f"{line}\r\n" for line in lines)


def requests_of(heads: Sequence[bytes], key: str, body: bytes) -> Iterator[bytes]:
    """Whole requests without end, by each player in turn; all that is the same in each is
    made ready before. `key` begins the idempotency keys, which end in 0, 1, 2 ...; an
    empty one sends none."""
    if not key:
        yield from itertools.cycle([b"%s\r\n%s" % (head, body) for head in heads])
    beginnings = itertools.cycle(
        [b"%sidempotency-key: %s" % (head, key.encode()) for head in heads]
    )
    for turn, beginning in enumerate(beginnings):
        yield b"%s%d\r\n\r\n%s" % (beginning, turn, body)
