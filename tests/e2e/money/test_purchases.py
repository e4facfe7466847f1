"""Purchases through REST on a whole mesh with the payment sandbox: the money is kept if and only
if its gems were credited, even with provider failures and kills."""

import time
from typing import Any

import pytest

from proof import payment_book
from proof.clients.answers import Answer
from proof.clients.client import PURCHASES
from proof.clients.rest_client import RestClient
from proof.invariants import broken_invariants
from proof.players import NewPlayer, Player
from proof.stack import Mesh

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.1
CREDITED_AT_ONCE = ["credit_card", "debit_card", "paypal", "apple_pay", "google_pay"]
CREDITED_AT_ONCE += ["card_drop_reply", "card_webhooks_twice", "card_webhooks_shuffled"]


def read_purchase(rest: RestClient, player: Player, purchase_id: str) -> Answer:
    return rest.call(f"{PURCHASES}/GetPurchase", {"purchaseId": purchase_id}, player.token)


def purchases(rest: RestClient, player: Player) -> list[dict[str, Any]]:
    listed = rest.call(f"{PURCHASES}/ListPurchases", {}, player.token)
    assert listed.ok, listed
    found: list[dict[str, Any]] = listed.body["purchases"]
    return found


def balance(rest: RestClient, player: Player) -> int:
    return int(rest.currency(player.token).body["currencyBalance"])


def until_ended(rest: RestClient, player: Player) -> dict[str, Any]:
    """Waits until the player's newest purchase has ended; returns it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (newest := purchases(rest, player)[0])["state"] == "pending":
        assert time.monotonic() < deadline, "the purchase does not end"
        time.sleep(POLL_SECONDS)
    return newest


def until_bought(rest: RestClient, player: Player, key: str) -> None:
    """Repeats a purchase until it is credited."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "newBalance" not in rest.buy_currency(player.token, 100, "card_pending", key=key).body:
        assert time.monotonic() < deadline, purchases(rest, player)
        time.sleep(POLL_SECONDS)


def charged(mesh: Mesh, player: Player) -> list[payment_book.BookedCharge]:
    return [
        each for each in payment_book.booked_charges(mesh) if each["customer"] == player.user_id
    ]


def test_a_purchase_has_these_keys(rest: RestClient, new_player: NewPlayer) -> None:
    player = new_player()
    rest.buy_currency(player.token, 100, "credit_card", key="k")
    ended = until_ended(rest, player)
    shown = read_purchase(rest, player, ended["purchaseId"])
    assert shown.ok, shown
    assert shown.body == ended
    assert set(ended) == {
        "purchaseId",
        "state",
        "reason",
        "amount",
        "priceMinor",
        "currency",
        "paymentMethod",
        "createdAt",
        "endedAt",
        "takenBack",
    }


@pytest.mark.parametrize("method", CREDITED_AT_ONCE)
def test_a_purchase_is_paid_and_credited_once(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer, method: str
) -> None:
    player = new_player()
    rest.buy_currency(player.token, 1600, method, key="k")
    ended = until_ended(rest, player)
    again = rest.buy_currency(player.token, 1600, method, key="k")
    assert again.body == {"message": "Currency purchased successfully", "newBalance": 1600}
    assert (ended["state"], ended["reason"]) == ("credited", "")
    assert (ended["priceMinor"], ended["currency"], ended["amount"]) == (1584, "USD", 1600)
    [charge] = charged(mesh, player)
    assert (charge["key"], charge["amount_minor"]) == (ended["purchaseId"], 1584)
    assert balance(rest, player) == 1600


def test_a_repeat_gives_the_first_answer_byte_for_byte(
    rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    first = rest.buy_currency(player.token, 100, key="k")
    assert first.raw == b'{"message":"Currency purchased successfully","newBalance":100}'
    rest.buy_currency(player.token, 7, key="other")
    assert rest.buy_currency(player.token, 100, key="k").raw == first.raw


@pytest.mark.parametrize(
    ("method", "status", "reason"),
    [
        ("card_declined", 400, "PAYMENT_DECLINED"),
        ("card_insufficient_funds", 400, "PAYMENT_DECLINED"),
        ("card_expired", 400, "PAYMENT_METHOD_EXPIRED"),
        ("seashells", 400, "PAYMENT_METHOD_UNSUPPORTED"),
    ],
)
def test_a_payment_that_is_refused_says_why_and_its_key_says_so_again(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer, method: str, status: int, reason: str
) -> None:
    player = new_player()
    body = {"amount": 100, "paymentMethod": method}
    headers = {"authorization": f"Bearer {player.token}", "idempotency-key": "k"}
    for _ in range(2):
        refused = rest.http.post("/buy-currency", json=body, headers=headers)
        assert (refused.status_code, refused.json()["reason"]) == (status, reason)
        if method == "seashells":
            assert "use one of credit_card, debit_card, paypal" in refused.json()["message"]
    listed = purchases(rest, player)
    assert [(each["state"], each["reason"]) for each in listed] == [("failed", reason)]
    assert len(charged(mesh, player)) == (0 if reason == "PAYMENT_METHOD_UNSUPPORTED" else 1)
    assert rest.buy_currency(player.token, 100, key="another").ok
    assert balance(rest, player) == 100


@pytest.mark.parametrize("method", ["card_pending", "card_slow"])
def test_a_payment_that_takes_long_is_pending_and_then_credited(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer, method: str
) -> None:
    player, other = new_player(), new_player()
    headers = {"authorization": f"Bearer {player.token}", "grpc-timeout": "700m"}
    body = {"amount": 100, "paymentMethod": method}
    answer = rest.http.post("/buy-currency", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    [listed] = purchases(rest, player)
    purchase_id = listed["purchaseId"]
    assert answer.json() == {
        "message": "Currency purchase is pending",
        "purchaseId": purchase_id,
        "state": "pending",
    }
    assert until_ended(rest, player)["state"] == "credited"
    assert read_purchase(rest, other, purchase_id).reason == "PURCHASE_NOT_FOUND"
    assert read_purchase(rest, player, purchase_id).body["endedAt"]
    assert (balance(rest, player), len(charged(mesh, player))) == (100, 1)


def test_a_provider_that_is_away_delays_a_purchase_and_loses_none(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    mesh.kill_process("payment_sandbox-1")
    answer = rest.buy_currency(player.token, 100, key="k")
    payment_book.wait_until_answering(mesh)
    assert answer.ok, answer
    assert until_ended(rest, player)["state"] == "credited"
    assert (balance(rest, player), len(charged(mesh, player))) == (100, 1)


def test_killing_the_account_service_loses_and_doubles_no_purchase(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    headers = {"authorization": f"Bearer {player.token}", "grpc-timeout": "600m"}
    for key in ("1", "2", "3"):
        body = {"amount": 100, "paymentMethod": "card_pending"}
        rest.http.post("/buy-currency", json=body, headers={**headers, "idempotency-key": key})
    for name in ("account_svc-1", "account_svc-2"):
        mesh.kill_process(name)
    for key in ("1", "2", "3"):
        until_bought(rest, player, key)
    assert (balance(rest, player), len(charged(mesh, player))) == (300, 3)
    assert broken_invariants(mesh) == []


def test_the_price_list_tells_what_a_purchase_will_cost(
    rest: RestClient, new_player: NewPlayer
) -> None:
    listed = rest.call(f"{PURCHASES}/ListPrices", {}).body
    assert set(listed) == {"prices", "currency", "paymentMethods"}
    assert [each["amount"] for each in listed["prices"]] == [160, 800, 1600, 4800, 16_000]
    assert listed["prices"][2] == {"amount": 1600, "priceMinor": 1584, "price": "15.84"}
    asked = rest.http.get("/prices?amounts=7&amounts=160").json()["prices"]
    player = new_player()
    for each in (*listed["prices"][:1], *asked):
        assert rest.buy_currency(player.token, each["amount"], listed["paymentMethods"][0]).ok
    paid = [each["priceMinor"] for each in purchases(rest, player)]
    assert paid == [each["priceMinor"] for each in (*reversed(asked), listed["prices"][0])]


@pytest.mark.parametrize("query", ["amounts=0", "amounts=x", "&".join(["amounts=1"] * 51)])
def test_amounts_that_cannot_be_priced_are_refused_by_name(rest: RestClient, query: str) -> None:
    error = rest.http.get(f"/prices?{query}").json()
    assert (error["code"], error["reason"]) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert error["fields"][0]["field"].startswith("amounts")
