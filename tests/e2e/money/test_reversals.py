"""Refunds and disputes at the payment sandbox, as a player sees them through REST."""

import time
from contextlib import suppress
from typing import Any

import httpx

from payment_sandbox.faults import FaultRates
from proof import payment_book
from proof.clients.client import PURCHASES
from proof.clients.rest_client import RestClient
from proof.invariants import broken_invariants, query
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from tests.e2e.giving import PULL_GEMS, owner, send

PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.05


def wallet(rest: RestClient, player: Player) -> tuple[int, int]:
    """The player's gems and debt."""
    body = rest.currency(player.token).body
    assert body.keys() == {"userId", "currencyBalance", "debtGems"}
    return body["currencyBalance"], body["debtGems"]


def until_wallet(rest: RestClient, player: Player, gems: int, debt_gems: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := wallet(rest, player)) != (gems, debt_gems):
        assert time.monotonic() < deadline, found
        time.sleep(POLL_SECONDS)


def bought(rest: RestClient, player: Player, gems: int) -> str:
    """Buys gems; returns the purchase's id, which is its charge's key."""
    answer = rest.buy_currency(player.token, gems, "credit_card")
    assert "newBalance" in answer.body, answer
    newest = rest.call(f"{PURCHASES}/ListPurchases", {}, player.token).body["purchases"][0]
    return str(newest["purchaseId"])


def entries(rest: RestClient, player: Player) -> list[tuple[str, int, int, int]]:
    """The ledger, oldest first: kind, amount, balance and debt after it."""
    listed: list[dict[str, Any]] = rest.ledger(player.token).body["entries"]
    return [
        (each["kind"], each["amount"], each["balanceAfter"], each["debtAfter"])
        for each in reversed(listed)
    ]


def test_a_refund_takes_the_gems_and_a_repeat_of_its_event_nothing(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    purchase_id = bought(rest, player, 100)
    payment_book.set_faults(mesh, FaultRates(duplicated=1.0))
    try:
        payment_book.reverse(mesh, "refund", purchase_id, f"r-{purchase_id}", amount_minor=33)
        until_wallet(rest, player, 67, 0)
        payment_book.reverse(mesh, "refund", purchase_id, f"s-{purchase_id}")
        until_wallet(rest, player, 0, 0)
    finally:
        payment_book.set_faults(mesh, FaultRates())
    assert entries(rest, player) == [
        ("purchase", 100, 100, 0),
        ("refund", -33, 67, 0),
        ("refund", -67, 0, 0),
    ]
    state = rest.call(f"{PURCHASES}/GetPurchase", {"purchaseId": purchase_id}, player.token).body
    assert (state["state"], state["takenBack"]) == ("credited", 100)


def test_a_debt_stops_pulls_and_gifts_until_it_is_paid(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    sender, item_id = owner(rest, new_player, gems_left=0)
    friend = new_player()
    spent = rest.call(f"{PURCHASES}/ListPurchases", {}, sender.token).body["purchases"][0]
    purchase_id = str(spent["purchaseId"])
    dispute = payment_book.reverse(mesh, "dispute", purchase_id, f"d-{purchase_id}")
    until_wallet(rest, sender, 0, PULL_GEMS)

    refused = rest.pull(sender.token, "standard")
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "WALLET_IN_DEBT")
    headers = {"authorization": f"Bearer {sender.token}"}
    answer = rest.http.get("/gacha/pull/standard", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (402, "WALLET_IN_DEBT")
    gift = send(rest, sender, item_id, friend.username)
    assert gift.reason == "WALLET_IN_DEBT"

    assert rest.buy_currency(sender.token, PULL_GEMS + 20, "credit_card").body["newBalance"] == 20
    assert send(rest, sender, item_id, friend.username).body["state"] == "delivered"
    payment_book.move_reversal(mesh, "dispute", dispute["id"], "won")
    until_wallet(rest, sender, PULL_GEMS, 0)
    assert rest.pull(sender.token, "standard").ok
    kinds = [kind for kind, *_ in entries(rest, sender)]
    assert kinds == ["purchase", "pull", "dispute", "purchase", "gift_fee", "dispute_won", "pull"]


def test_a_pending_refund_that_fails_gives_the_gems_back(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    purchase_id = bought(rest, player, 100)
    refund = payment_book.reverse(mesh, "refund", purchase_id, f"r-{purchase_id}", status="pending")
    until_wallet(rest, player, 0, 0)
    payment_book.move_reversal(mesh, "refund", refund["id"], "failed")
    until_wallet(rest, player, 100, 0)
    assert not broken_invariants(mesh)


def test_a_purchase_whose_pending_refund_fails_is_credited(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    """An operator refunds the charge before the purchase knows that it was made."""
    player = new_player()
    payment_book.set_faults(mesh, FaultRates(dropped=1.0))
    try:
        rest.buy_currency(player.token, 1600, "credit_card")
        newest = rest.call(f"{PURCHASES}/ListPurchases", {}, player.token).body["purchases"][0]
        purchase_id = str(newest["purchaseId"])
        assert newest["state"] == "pending"
        refund = until_refunded(mesh, purchase_id)
    finally:
        payment_book.set_faults(mesh, FaultRates())
    until_purchase_waits_for_its_refund(mesh, purchase_id)
    payment_book.move_reversal(mesh, "refund", refund["id"], "failed")
    until_wallet(rest, player, 1600, 0)


def until_refunded(mesh: Mesh, purchase_id: str) -> payment_book.BookedReversal:
    """The pending refund of the charge, whose answer the sandbox may drop."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with suppress(httpx.TransportError):
            payment_book.reverse(mesh, "refund", purchase_id, f"r-{purchase_id}", status="pending")
        for charge in payment_book.booked_charges(mesh):
            if charge["key"] == purchase_id and charge["refunds"]:
                return charge["refunds"][0]
        assert time.monotonic() < deadline, "the charge was not refunded"
        time.sleep(POLL_SECONDS)


def until_purchase_waits_for_its_refund(mesh: Mesh, purchase_id: str) -> None:
    statement = f"SELECT state, reason FROM saga WHERE saga_id = '{purchase_id}'"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := query(mesh, "account", statement)) != [("CHARGING", "REFUND_PENDING")]:
        assert time.monotonic() < deadline, found
        time.sleep(POLL_SECONDS)
