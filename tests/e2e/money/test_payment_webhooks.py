"""Webhooks of the payment sandbox, through the gateway of a whole mesh."""

import time
from typing import Any

import orjson
import pytest

from payment_sandbox.webhooks import signature
from proof import payment_book
from proof.clients.client import PURCHASES
from proof.clients.rest_client import RestClient
from proof.invariants import rows_at
from proof.players import NewPlayer, Player
from proof.stack import Mesh

WEBHOOKS = "/webhooks/payments"
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.05
ATTEMPTS = 10
FORGET_RETRY = """
UPDATE saga SET due_at = now() + interval '1 day'
WHERE saga_id = '{}' AND lease = '' AND due_at > now() RETURNING 1
"""


def newest(rest: RestClient, player: Player) -> dict[str, Any]:
    found: dict[str, Any] = rest.call(f"{PURCHASES}/ListPurchases", {}, player.token).body
    purchase: dict[str, Any] = found["purchases"][0]
    return purchase


def credited(rest: RestClient, player: Player) -> str:
    """The id of the player's newest purchase, once it is credited."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (purchase := newest(rest, player))["state"] != "credited":
        assert time.monotonic() < deadline, purchase
        time.sleep(POLL_SECONDS)
    return str(purchase["purchaseId"])


def event(key: str) -> bytes:
    charge = {"id": "ch_1", "key": key, "state": "succeeded", "decline_code": ""}
    return orjson.dumps({"id": "evt_1", "data": {"charge": charge}})


def secret(mesh: Mesh) -> str:
    return (mesh.layout.secrets / "payment_webhook_secret").read_text()


def test_a_webhook_credits_a_purchase_that_would_not_ask_for_a_day(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    # On a busy machine the first webhook may come before the first look.
    assert any(was_only_woken(mesh, rest, new_player()) for _ in range(ATTEMPTS))


def was_only_woken(mesh: Mesh, rest: RestClient, player: Player) -> bool:
    """Buys, and postpones the saga's own retry until the purchase is credited. Returns whether the
    retry was postponed at all."""
    headers = {"authorization": f"Bearer {player.token}", "grpc-timeout": "700m"}
    body = {"amount": 100, "paymentMethod": "card_pending"}
    assert rest.http.post("/buy-currency", json=body, headers=headers).status_code == 200
    purchase_id = newest(rest, player)["purchaseId"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    forgotten_count = 0
    # Each time, so that only webhooks can complete it.
    while newest(rest, player)["state"] != "credited":
        forgotten_count += len(
            rows_at(mesh.superuser_url("account"), FORGET_RETRY.format(purchase_id))
        )
        assert time.monotonic() < deadline, "no webhook has woken the purchase"
        time.sleep(POLL_SECONDS)
    assert rest.currency(player.token).body["currencyBalance"] == 100
    return forgotten_count > 0


@pytest.mark.parametrize("method", ["card_webhooks_twice", "card_webhooks_shuffled"])
def test_events_that_come_again_and_late_credit_once(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer, method: str
) -> None:
    player = new_player()
    rest.buy_currency(player.token, 100, method, key="k")
    body = event(credited(rest, player))
    for _ in range(3):
        headers = {"sandbox-signature": signature(secret(mesh), body, int(time.time()))}
        answer = rest.http.post(WEBHOOKS, content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {})
    charges = payment_book.booked_charges(mesh)
    assert sum(each["customer"] == player.user_id for each in charges) == 1
    assert rest.currency(player.token).body["currencyBalance"] == 100


def test_a_forged_webhook_is_refused(mesh: Mesh, rest: RestClient) -> None:
    body, now = event("nobody"), int(time.time())
    for forged in (
        {},
        {"sandbox-signature": signature("somebody else's secret", body, now)},
        {"sandbox-signature": signature(secret(mesh), body + b" ", now)},
        {"sandbox-signature": signature(secret(mesh), body, now - 3600)},
    ):
        answer = rest.http.post(WEBHOOKS, content=body, headers=forged)
        assert answer.status_code == 401, answer.text
        assert answer.json()["reason"] == "WEBHOOK_SIGNATURE_INVALID"


def test_a_signed_body_that_is_no_event_is_a_bad_request(mesh: Mesh, rest: RestClient) -> None:
    headers = {"sandbox-signature": signature(secret(mesh), b"{}", int(time.time()))}
    assert rest.http.post(WEBHOOKS, content=b"{}", headers=headers).status_code == 400
