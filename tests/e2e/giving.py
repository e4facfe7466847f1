"""Sends gifts through REST, and makes players who own an item."""

from typing import Any

from proof.clients.answers import Answer
from proof.clients.client import GIFTS
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, Player

PULL_GEMS = 160


def send(rest: RestClient, sender: Player, item_id: int, to: str, **more: Any) -> Answer:
    return rest.call(f"{GIFTS}/SendGift", {"itemId": item_id, "to": to, **more}, sender.token)


def owner(rest: RestClient, new_player: NewPlayer, gems_left: int) -> tuple[Player, int]:
    """A player with one item and that many gems, and the item's id."""
    player = new_player(gems=PULL_GEMS + gems_left)
    pulled = rest.pull(player.token, "standard").body["pulled_items"]
    return player, pulled[0]["item_id"]
