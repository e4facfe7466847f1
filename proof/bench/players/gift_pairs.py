"""The requests of the load of gifts: each connection has a pair of players who give one item to
and fro, so that gifts never run out."""

from collections.abc import Sequence

import orjson

from proof.bench.load.scenarios import GIFTS, PULLS, request_head
from proof.bench.players.token_pool import TokenPool


def gift_requests(pool: TokenPool, host: str, tokens: Sequence[str]) -> list[tuple[str, str]]:
    """The head and the body of one gift of each player. `tokens` are those of the first players
    of the pool, an even number.

    The first half gives to the second half, and the second gives back. Every player of the first
    half pulls an item for it, which costs one pull each. Raises BenchFailed.
    """
    pair_count = len(tokens) // 2
    names = pool.usernames[: len(tokens)]
    pulls = pool.post_each(PULLS.path, {"count": 1}, tokens[:pair_count])
    items = [pull["pulled_items"][0]["item_id"] for pull in pulls]
    receivers = [*names[pair_count:], *names[:pair_count]]
    return [
        _request(host, token, receiver, item_id)
        for token, receiver, item_id in zip(tokens, receivers, items * 2, strict=True)
    ]


def _request(host: str, token: str, receiver: str, item_id: int) -> tuple[str, str]:
    body = orjson.dumps({"to": receiver, "itemId": item_id}).decode()
    return request_head(GIFTS, host, token, body), body
