"""A player's ledger, inventory and pulls agree, page by page."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from proof.clients.answers import Answer
from proof.clients.client import Client
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, Player

Listing = Callable[..., Answer]
MOST_PAGES = 50
ITEM_KEYS = {
    *("itemId", "name", "rarity", "featured", "pity", "featuredGuaranteed", "tenPullGuaranteed"),
}


def pages(listing: Listing, token: str, key: str, page_size: int) -> list[list[dict[str, Any]]]:
    """Every page of a list, by its page tokens."""
    found: list[list[dict[str, Any]]] = []
    page_token = ""
    while True:
        answer = listing(token, page_size=page_size, page_token=page_token)
        assert set(answer.body) == {key, "nextPageToken"}
        found.append(answer.body[key])
        page_token = answer.body["nextPageToken"]
        if not page_token:
            return found
        assert len(found) < MOST_PAGES


ENTRY_KEYS = {"operationId", "kind", "amount", "balanceAfter", "createdAt", "debtAfter"}


@pytest.fixture(scope="module")
def veteran(rest: RestClient, new_player: NewPlayer) -> Player:
    """A player with 3 purchases, 4 single pulls and 2 ten-pulls on two banners."""
    player = new_player(gems=1000)
    assert rest.buy_currency(player.token, 2000).ok
    assert rest.buy_currency(player.token, 2000).ok
    for banner_id, count in [("standard", 1), ("lamplighter", 1), ("standard", 10)] * 2:
        assert rest.pull(player.token, banner_id, count).ok
    return player


def test_ledger_entries_lead_from_zero_to_the_balance(client: Client, veteran: Player) -> None:
    entries = client.ledger(veteran.token).body["entries"]
    assert len(entries) == 9
    balance = 0
    for entry in reversed(entries):
        assert set(entry) == ENTRY_KEYS
        assert entry["debtAfter"] == 0
        assert (entry["kind"], entry["amount"] > 0) in {("purchase", True), ("pull", False)}
        balance += entry["amount"]
        assert entry["balanceAfter"] == balance
    assert client.currency(veteran.token).body["currencyBalance"] == balance
    assert balance == 5000 - 4 * 160 - 2 * 1600
    moments = [datetime.fromisoformat(entry["createdAt"]) for entry in entries]
    assert moments == sorted(moments, reverse=True)


def test_each_pull_has_its_debit_and_each_debit_its_pull(client: Client, veteran: Player) -> None:
    entries = client.ledger(veteran.token).body["entries"]
    debits = {each["operationId"]: -each["amount"] for each in entries if each["kind"] == "pull"}
    pulls = client.pulls(veteran.token).body["pulls"]
    assert {pull["pullId"]: pull["cost"] for pull in pulls} == debits
    for pull in pulls:
        assert set(pull) == {"pullId", "bannerId", "cost", "oddsVersion", "items", "createdAt"}
        for item in pull["items"]:
            assert set(item) == ITEM_KEYS
            assert type(item["featured"]) is bool


def test_inventory_is_the_sum_of_the_pulls(client: Client, veteran: Player) -> None:
    owned = client.inventory(veteran.token).body["items"]
    assert all(set(item) == {"itemId", "name", "rarity", "count"} for item in owned)
    pulls = client.pulls(veteran.token).body["pulls"]
    drawn = Counter(item["itemId"] for pull in pulls for item in pull["items"])
    assert {item["itemId"]: item["count"] for item in owned} == drawn
    assert drawn.total() == 24
    ids = [item["itemId"] for item in owned]
    assert ids == sorted(ids)


@pytest.mark.parametrize("page_size", [1, 2, 4, 9])
def test_ledger_pages_join_to_the_whole(client: Client, veteran: Player, page_size: int) -> None:
    whole = client.ledger(veteran.token).body["entries"]
    got = pages(client.ledger, veteran.token, "entries", page_size)
    assert [entry for page in got for entry in page] == whole
    assert [len(page) for page in got[:-1]] == [page_size] * (len(got) - 1)


@pytest.mark.parametrize("page_size", [1, 4])
def test_pull_pages_join_to_the_whole(client: Client, veteran: Player, page_size: int) -> None:
    whole = client.pulls(veteran.token).body["pulls"]
    got = pages(client.pulls, veteran.token, "pulls", page_size)
    assert [pull for page in got for pull in page] == whole
    assert len(whole) == 6


def test_inventory_pages_join_to_the_whole(client: Client, veteran: Player) -> None:
    whole = client.inventory(veteran.token).body["items"]
    got = pages(client.inventory, veteran.token, "items", 3)
    assert [item for page in got for item in page] == whole


def test_page_stays_where_it_was_when_something_new_comes(
    rest: RestClient, new_player: NewPlayer
) -> None:
    token = new_player(gems=10).token
    assert rest.buy_currency(token, 20).ok
    first = rest.ledger(token, page_size=1)
    assert rest.buy_currency(token, 30).ok
    second = rest.ledger(token, page_size=1, page_token=first.body["nextPageToken"])
    assert [entry["amount"] for entry in second.body["entries"]] == [10]


@pytest.mark.parametrize("listing", ["ledger", "inventory", "pulls"])
@pytest.mark.parametrize("page_token", ["0", "2147483648", "9" * 15])
def test_any_number_is_a_page_token(
    client: Client, veteran: Player, listing: str, page_token: str
) -> None:
    assert getattr(client, listing)(veteran.token, page_token=page_token).ok


@pytest.mark.parametrize("page_token", ["x", "-1", "1.5", "99999999999999999999", "1 2", "²"])
@pytest.mark.parametrize("listing", ["ledger", "inventory", "pulls"])
def test_bad_page_token_is_named(
    rest: RestClient,
    first_instance: Client,
    veteran: Player,
    listing: str,
    page_token: str,
) -> None:
    for client, field in ((rest, "pageToken"), (first_instance, "page_token")):
        answer = getattr(client, listing)(veteran.token, page_token=page_token)
        assert (answer.code, answer.fields) == ("INVALID_ARGUMENT", (field,))


@pytest.mark.parametrize(
    ("listing", "page_size"),
    [("ledger", 101), ("ledger", -1), ("inventory", 501), ("pulls", 101), ("pulls", -5)],
)
def test_page_size_has_bounds(
    client: Client, veteran: Player, listing: str, page_size: int
) -> None:
    answer = getattr(client, listing)(veteran.token, page_size=page_size)
    assert answer.code == "INVALID_ARGUMENT"
    assert answer.fields in {("pageSize",), ("page_size",)}


def test_players_see_nothing_of_one_another(client: Client, new_player: NewPlayer) -> None:
    token = new_player().token
    assert client.ledger(token).body == {"entries": [], "nextPageToken": ""}
    assert client.inventory(token).body == {"items": [], "nextPageToken": ""}
    assert client.pulls(token).body == {"pulls": [], "nextPageToken": ""}
    assert client.currency(token).body["currencyBalance"] == 0
