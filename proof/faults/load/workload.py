"""What players ask for next, and what they own to give away."""

import itertools
import random
from collections.abc import Sequence

import orjson

from proof.faults.history import Asked, Kind
from proof.faults.load.players import Player

SKEW = 1.1
TEN_PULLS, PURCHASES, PURCHASES_WHEN_BROKE, GIFTS = 0.15, 0.04, 0.7, 0.15
"""How often each comes, of 1."""
PURCHASE_GEMS = (160, 800, 1600, 4800)
PAYMENT_METHODS = {
    "credit_card": 12,
    "card_pending": 2,
    "card_drop_reply": 2,
    "card_webhooks_twice": 1,
    "card_webhooks_shuffled": 1,
    "card_declined": 1,
}
"""With how often each is used."""


class Wishes:
    """Of all players, some of whom want far more than others."""

    def __init__(self, players: Sequence[Player]) -> None:
        weights = [1 / rank**SKEW for rank in range(1, len(players) + 1)]
        self._weights = list(itertools.accumulate(weights))
        self._players = players
        self._by_id = {player.user_id: player for player in players}
        self._by_name = {player.username: player for player in players}

    def next(self, chance: random.Random) -> Asked:
        """Something new, under a key of its own. What is to be given away is not chosen again
        until its gift is refused."""
        player = self._choose(chance)
        key = f"{chance.getrandbits(96):x}"
        if chance.random() < (PURCHASES_WHEN_BROKE if player.is_broke else PURCHASES):
            gems = chance.choice(PURCHASE_GEMS)
            [method] = chance.choices(list(PAYMENT_METHODS), [*PAYMENT_METHODS.values()])
            body = orjson.dumps({"amount": gems, "paymentMethod": method})
            return Asked(Kind.PURCHASE, player.user_id, key, gems, body)
        receiver = self._choose(chance)
        if player.items and receiver is not player and chance.random() < GIFTS:
            item_id = player.items.pop(chance.randrange(len(player.items)))
            body = orjson.dumps({"itemId": item_id, "to": receiver.username, "count": 1})
            return Asked(Kind.GIFT, player.user_id, key, 1, body)
        count = 10 if chance.random() < TEN_PULLS else 1
        return Asked(Kind.PULL, player.user_id, key, count, orjson.dumps({"count": count}))

    def learn_success(self, asked: Asked) -> None:
        """What was bought, pulled or given is with whoever has it now."""
        player = self._by_id[asked.user_id]
        if asked.kind is Kind.PURCHASE:
            player.is_broke = False
        elif asked.kind is Kind.PULL:
            player.items += [each["item_id"] for each in orjson.loads(asked.body)["pulled_items"]]
        else:
            gift = orjson.loads(asked.request)
            self._by_name[gift["to"]].items.append(gift["itemId"])

    def learn_poverty(self, asked: Asked) -> None:
        """The player cannot pay, and keeps what was to be given."""
        player = self._by_id[asked.user_id]
        player.is_broke = True
        if asked.kind is Kind.GIFT:
            player.items.append(orjson.loads(asked.request)["itemId"])

    def _choose(self, chance: random.Random) -> Player:
        return chance.choices(self._players, cum_weights=self._weights)[0]
