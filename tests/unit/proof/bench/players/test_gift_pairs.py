"""The load of gifts: who gives what to whom."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from proof.bench.players.gift_pairs import gift_requests
from proof.bench.players.token_pool import TokenPool


class Pool:
    """Players a, b, c and d; each pull gives the item with the next number from 1."""

    usernames = ("a", "b", "c", "d", "unused")

    def post_each(
        self, path: str, body: Mapping[str, object], tokens: Sequence[str]
    ) -> Sequence[dict[str, Any]]:
        assert (path, body) == ("/gacha/pull/standard", {"count": 1})
        return [{"pulled_items": [{"item_id": n}]} for n, _ in enumerate(tokens, 1)]


def test_the_players_of_a_connection_give_one_item_to_and_fro() -> None:
    tokens = ["of-a", "of-b", "of-c", "of-d"]
    requests = gift_requests(cast(TokenPool, Pool()), "host", tokens)
    given = [json.loads(body) for _, body in requests]
    # A connection of two has the players 0 and 2, the other one 1 and 3.
    assert given[0::2] == [{"to": "c", "itemId": 1}, {"to": "a", "itemId": 1}]
    assert given[1::2] == [{"to": "d", "itemId": 2}, {"to": "b", "itemId": 2}]
    for (head, body), token in zip(requests, tokens, strict=True):
        assert head.startswith("POST /gifts HTTP/1.1")
        assert f"Bearer {token}\r\n" in head
        assert f"content-length: {len(body)}\r\n" in head
