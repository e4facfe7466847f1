"""A player's objects do not exist for other players.

The methods come from the descriptors. Each method of a player that has an id is called with
another player's id, and each list with another player's page token.
"""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from proof.clients.client import GIFTS, PURCHASES
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, Player
from tests.authorization import PLAYERS, documented, methods

OF_PLAYERS = {line.path for line in documented() if line.who == PLAYERS}
METHODS = {path: method for path, method in methods() if path in OF_PLAYERS}
OF_THE_CATALOG = {"banner_id", "item_id"}
"""Ids of objects without an owner. A gift's item is looked up in the sender's own inventory."""
NOBODYS = "00000000-0000-4000-8000-000000000000"
OF_THE_CALLER = {"idempotency_key"}
"""What a caller names by themselves; the same name of another player is another request."""


def ids_of(method: MethodDescriptor) -> list[str]:
    """The fields that have the id of a player's object."""
    free = OF_THE_CATALOG | OF_THE_CALLER
    names = [field.name for field in method.input_type.fields]
    return [name for name in names if name.endswith("_id") and name not in free]


def json_name(method: MethodDescriptor, field: str) -> str:
    return str(method.input_type.fields_by_name[field].json_name)


NAMING = [(path, field) for path, method in METHODS.items() for field in ids_of(method)]
LISTING = [path for path in METHODS if "page_token" in METHODS[path].input_type.fields_by_name]


class Owner:
    """A player with an object of each kind."""

    def __init__(self, player: Player, rest: RestClient, friend: Player) -> None:
        self.player = player
        for _ in range(2):
            assert rest.buy_currency(player.token, 2_000).ok
        for _ in range(2):
            pulled = rest.pull(player.token, "standard", 10)
            assert pulled.ok, pulled
        self.gift_id = ""
        for each in pulled.body["pulled_items"][:2]:
            sent = rest.call(
                f"{GIFTS}/SendGift",
                {"itemId": each["item_id"], "to": friend.username},
                player.token,
            )
            assert sent.ok, sent
            self.gift_id = sent.body["giftId"]
        listed = rest.call(f"{PURCHASES}/ListPurchases", {}, player.token)
        self.purchase_id = listed.body["purchases"][0]["purchaseId"]

    def id_of(self, field: str) -> str:
        """The id of an object of this player. A new kind of id needs an attribute here."""
        return str(getattr(self, field))


@pytest.fixture(scope="module")
def owner(rest: RestClient, new_player: NewPlayer) -> Owner:
    return Owner(new_player(), rest, new_player())


@pytest.fixture(scope="module")
def stranger(new_player: NewPlayer) -> Player:
    return new_player()


def test_there_are_methods_to_try() -> None:
    assert (f"{PURCHASES}/GetPurchase", "purchase_id") in NAMING
    assert (f"{GIFTS}/GetGift", "gift_id") in NAMING
    assert f"{PURCHASES}/ListPurchases" in LISTING


@pytest.mark.parametrize(("path", "field"), NAMING)
def test_anothers_is_not_found(
    rest: RestClient, owner: Owner, stranger: Player, path: str, field: str
) -> None:
    request = {json_name(METHODS[path], field): owner.id_of(field)}
    mine = rest.call(path, request, owner.player.token)
    assert mine.ok, mine
    theirs = rest.call(path, request, stranger.token)
    none = rest.call(path, dict.fromkeys(request, NOBODYS), stranger.token)
    assert (theirs.code, theirs.reason) == ("NOT_FOUND", none.reason)
    assert theirs.message.replace(owner.id_of(field), NOBODYS) == none.message


@pytest.mark.parametrize("path", LISTING)
def test_anothers_page_shows_nothing_of_theirs(
    rest: RestClient, owner: Owner, stranger: Player, path: str
) -> None:
    first = rest.call(path, {"pageSize": 1}, owner.player.token)
    token = first.body["nextPageToken"]
    second = rest.call(path, {"pageSize": 1, "pageToken": token}, owner.player.token)
    rows = rows_of(METHODS[path])
    assert rows(first.body)
    assert rows(second.body)
    foreign = rest.call(path, {"pageToken": token}, stranger.token)
    assert foreign.ok, foreign
    assert rows(foreign.body) == []


def rows_of(method: MethodDescriptor) -> Callable[[dict[str, Any]], Any]:
    """The rows in the answer of a list."""
    fields = method.output_type.fields
    (name,) = (
        field.json_name
        for field in fields
        if field.is_repeated and field.type == FieldDescriptor.TYPE_MESSAGE
    )
    return lambda body: body[name]
