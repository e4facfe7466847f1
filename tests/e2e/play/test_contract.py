"""The original REST calls, as promised to users, with every client.

Existing clients rely on the exact keys, texts and JSON types.
"""

import re
from uuid import UUID

import httpx
import jwt
import pytest

from proof.clients.client import Client
from proof.clients.rest_client import RestClient
from proof.players import PASSWORD, NewPlayer, unique_name
from proof.stack import Mesh
from tests.e2e.hostile.refusals import without_ids

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RARITIES = {"rare", "super rare", "ultra rare"}


def test_initdb_introduces_the_catalog_and_repeating_it_changes_nothing(client: Client) -> None:
    before = (client.init_db(), client.items().raw, client.banners().body)
    after = (client.init_db(), client.items().raw, client.banners().body)
    assert before == after
    assert set(after[0].body) == {"message", "itemCount", "bannerCount"}
    assert after[0].body["itemCount"] >= 40
    assert after[0].body["bannerCount"] == 3


def test_register_tells_the_id_of_the_player(client: Client) -> None:
    name = unique_name()
    answer = client.register(name, PASSWORD, f"{name}@example.com")
    assert answer.ok, answer
    assert set(answer.body) == {"message", "userId"}
    assert answer.body["message"] == "User registered successfully"
    assert str(UUID(answer.body["userId"])) == answer.body["userId"]


def test_login_gives_a_token_for_15_minutes_and_a_refresh_token(
    client: Client, new_player: NewPlayer
) -> None:
    player = new_player()
    answer = client.login(player.username, PASSWORD)
    assert set(answer.body) == {"message", "token", "refresh_token", "expires_in"}
    assert answer.body["message"] == "Login successful"
    header = jwt.get_unverified_header(answer.body["token"])
    claims = jwt.decode(answer.body["token"], options={"verify_signature": False})
    assert header["alg"] == "EdDSA"
    assert claims["sub"] == player.user_id
    assert claims["exp"] - claims["iat"] == answer.body["expires_in"] == 900
    assert type(answer.body["expires_in"]) is int
    assert str(UUID(claims["sid"])) == claims["sid"]
    assert re.fullmatch(r"gmr_[A-Za-z0-9_-]{70}", answer.body["refresh_token"])


def test_login_takes_the_username_in_any_case(client: Client, new_player: NewPlayer) -> None:
    assert client.login(new_player().username.upper(), PASSWORD).ok


def test_published_keys_verify_a_token(client: Client, new_player: NewPlayer) -> None:
    keys = client.key_set().body["keys"]
    assert [set(key) for key in keys] == [{"kty", "crv", "alg", "use", "kid", "x"}]
    token = new_player().token
    key = jwt.PyJWKSet(keys)[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, algorithms=["EdDSA"], audience="gacha-mesh/player")


def test_buy_currency_tells_the_new_balance(client: Client, new_player: NewPlayer) -> None:
    token = new_player().token
    first = client.buy_currency(token, 160)
    assert first.body == {"message": "Currency purchased successfully", "newBalance": 160}
    second = client.buy_currency(token, 1_000_000_000, "paypal")
    assert second.body["newBalance"] == 1_000_000_160
    assert type(second.body["newBalance"]) is int


def test_currency_tells_the_player_and_the_balance(client: Client, new_player: NewPlayer) -> None:
    player = new_player(gems=77)
    answer = client.currency(player.token)
    assert answer.body == {"userId": player.user_id, "currencyBalance": 77, "debtGems": 0}
    assert type(answer.body["currencyBalance"]) is int


def test_items_have_a_text_id_a_name_and_a_rarity(client: Client) -> None:
    answer = client.items()
    assert set(answer.body) == {"items"}
    items = answer.body["items"]
    assert len(items) >= 40
    assert all(set(item) == {"id", "name", "rarity"} for item in items)
    assert all(isinstance(value, str) for item in items for value in item.values())
    assert all(re.fullmatch(r"[1-9][0-9]*", item["id"]) for item in items)
    assert {item["rarity"] for item in items} == RARITIES
    ids = [int(item["id"]) for item in items]
    assert ids == sorted(set(ids))


def test_chances_are_percentages_that_sum_to_100(client: Client) -> None:
    answer = client.chances()
    assert set(answer.body) == {"chances"}
    chances = answer.body["chances"]
    assert set(chances) == {"rare", "super_rare", "ultra_rare"}
    assert chances == pytest.approx({"rare": 94.3, "super_rare": 5.1, "ultra_rare": 0.6})
    assert sum(chances.values()) == pytest.approx(100, abs=1e-9)


@pytest.mark.parametrize("count", [None, 1, 10])
def test_pull_gives_the_items_and_takes_the_price(
    client: Client, new_player: NewPlayer, count: int | None
) -> None:
    token = new_player(gems=1700).token
    known = {int(item["id"]): item for item in client.items().body["items"]}
    answer = client.pull(token, "standard", count)
    assert answer.ok, answer
    assert set(answer.body) == {"pulled_items"}
    pulled = answer.body["pulled_items"]
    assert len(pulled) == (count or 1)
    for item in pulled:
        assert set(item) == {"item_id", "name", "rarity"}
        assert type(item["item_id"]) is int
        catalogued = known[item["item_id"]]
        assert (item["name"], item["rarity"]) == (catalogued["name"], catalogued["rarity"])
    assert client.currency(token).body["currencyBalance"] == 1700 - 160 * (count or 1)


def test_insufficient_currency_is_refused_and_nothing_is_taken(
    client: Client, new_player: NewPlayer
) -> None:
    token = new_player(gems=1599).token
    answer = client.pull(token, "standard", 10)
    expected = {
        "status": "error",
        "message": "Insufficient currency",
        "code": "FAILED_PRECONDITION",
        "reason": "INSUFFICIENT_CURRENCY",
    }
    shown = without_ids(answer.body)
    # Only REST writes the details.
    assert shown.pop("details", None) in (None, {"priceGems": "1600", "balanceGems": "1599"})
    assert shown == expected
    assert client.currency(token).body["currencyBalance"] == 1599
    assert client.pulls(token).body["pulls"] == []
    assert client.inventory(token).body["items"] == []


def test_refused_pull_may_be_tried_anew_with_the_same_key(
    client: Client, new_player: NewPlayer
) -> None:
    token = new_player().token
    assert client.pull(token, key="later").reason == "INSUFFICIENT_CURRENCY"
    assert client.buy_currency(token, 160).ok
    assert client.pull(token, key="later").ok
    assert client.currency(token).body["currencyBalance"] == 0


def test_rest_error_is_the_promised_object_and_no_more(
    rest: RestClient, new_player: NewPlayer
) -> None:
    headers = {"authorization": f"Bearer {new_player().token}", "x-request-id": "mine-1"}
    headers |= {"idempotency-key": "k", "traceparent": TRACEPARENT}
    response = rest.http.get("/gacha/pull/standard", headers=headers)
    assert response.status_code == 400
    assert response.headers["x-request-id"] == "mine-1"
    assert response.json() == {
        "status": "error",
        "message": "Insufficient currency",
        "code": "FAILED_PRECONDITION",
        "reason": "INSUFFICIENT_CURRENCY",
        "requestId": "mine-1",
        "traceId": TRACEPARENT.split("-")[1],
        "idempotencyKey": "k",
        "details": {"priceGems": "160", "balanceGems": "0"},
    }


def test_integers_are_json_numbers_in_the_bytes(mesh: Mesh, new_player: NewPlayer) -> None:
    """A client's parser may not accept integers as strings."""
    token = new_player(gems=320).token
    authorization = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=mesh.gateway, headers=authorization, trust_env=False) as http:
        assert b'"currencyBalance":320' in http.get("/currency").content
        bought = http.post("/buy-currency", json={"amount": 5, "paymentMethod": "credit_card"})
        assert b'"newBalance":325' in bought.content
        assert re.search(rb'"item_id":[0-9]+,', http.get("/gacha/pull/standard").content)
