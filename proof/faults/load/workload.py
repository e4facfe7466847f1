"""Chooses the next requests of players, and tracks the items that they can give."""

import itertools
import random
from collections.abc import Sequence

import orjson

from proof.faults.history import Kind, Operation
from proof.limited_catalog import LIMITED_BANNER
from proof.load.seeded_players import SeededPlayer

SKEW = 1.1
TEN_PULLS, PURCHASES, PURCHASES_WHEN_BROKE, GIFTS = 0.15, 0.04, 0.7, 0.15
"""The probability of each."""
BANNERS = {"standard": 3, "lamplighter": 2, LIMITED_BANNER: 1}
"""The weight of each banner's pulls; the second has featured items, the third a limit."""
PURCHASE_GEMS = (160, 800, 1600, 4800)
PAYMENT_METHODS = {
    "credit_card": 12,
    "card_pending": 2,
    "card_drop_reply": 2,
    "card_webhooks_twice": 1,
    "card_webhooks_shuffled": 1,
    "card_declined": 1,
}
"""Each with its weight."""


class Workload:
    """The requests of all players, some of whom send far more than others."""

    def __init__(self, players: Sequence[SeededPlayer]) -> None:
        weights = [1 / rank**SKEW for rank in range(1, len(players) + 1)]
        self._weights = list(itertools.accumulate(weights))
        self._players = players
        self._by_id = {player.user_id: player for player in players}
        self._by_name = {player.username: player for player in players}

    def next(self, chance: random.Random) -> Operation:
        """A new request with its own key. An item that is being given is not chosen again until
        its gift is refused."""
        player = self._choose(chance)
        key = f"{chance.getrandbits(96):x}"
        if chance.random() < (PURCHASES_WHEN_BROKE if player.is_out_of_gems else PURCHASES):
            gems = chance.choice(PURCHASE_GEMS)
            [method] = chance.choices(list(PAYMENT_METHODS), [*PAYMENT_METHODS.values()])
            body = orjson.dumps({"amount": gems, "paymentMethod": method})
            return Operation(Kind.PURCHASE, player.user_id, key, gems, body)
        receiver = self._choose(chance)
        if player.items and receiver is not player and chance.random() < GIFTS:
            item_id = player.items.pop(chance.randrange(len(player.items)))
            body = orjson.dumps({"itemId": item_id, "to": receiver.username, "count": 1})
            return Operation(Kind.GIFT, player.user_id, key, 1, body)
        count = 10 if chance.random() < TEN_PULLS else 1
        [banner_id] = chance.choices(list(BANNERS), [*BANNERS.values()])
        body = orjson.dumps({"count": count})
        return Operation(Kind.PULL, player.user_id, key, count, body, banner_id)

    def record_success(self, operation: Operation) -> None:
        """Updates the owner of what was bought, pulled or given."""
        player = self._by_id[operation.user_id]
        if operation.kind is Kind.PURCHASE:
            player.is_out_of_gems = False
        elif operation.kind is Kind.PULL:
            player.items += [
                each["item_id"] for each in orjson.loads(operation.body)["pulled_items"]
            ]
        else:
            gift = orjson.loads(operation.request)
            self._by_name[gift["to"]].items.append(gift["itemId"])

    def record_insufficient_currency(self, operation: Operation) -> None:
        """The player cannot pay, and keeps the items of a gift."""
        player = self._by_id[operation.user_id]
        player.is_out_of_gems = True
        if operation.kind is Kind.GIFT:
            player.items.append(orjson.loads(operation.request)["itemId"])

    def _choose(self, chance: random.Random) -> SeededPlayer:
        return chance.choices(self._players, cum_weights=self._weights)[0]
