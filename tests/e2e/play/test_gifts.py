"""Gifts through REST on a whole mesh: items and fees move together, even with kills."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest

from proof.clients.answers import Answer
from proof.clients.client import GIFTS
from proof.clients.rest_client import RestClient
from proof.invariants import broken_invariants
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from tests.e2e.giving import PULL_GEMS, owner, send

FEE_GEMS = 20
ENDED = ("delivered", "returned")
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.1


def read_gift(rest: RestClient, player: Player, gift_id: str) -> Answer:
    return rest.call(f"{GIFTS}/GetGift", {"giftId": gift_id}, player.token)


def inventory(rest: RestClient, player: Player) -> dict[int, int]:
    return {each["itemId"]: each["count"] for each in rest.inventory(player.token).body["items"]}


def balance(rest: RestClient, player: Player) -> int:
    return int(rest.currency(player.token).body["currencyBalance"])


def test_a_gift_is_sent_and_is_the_same_when_it_is_sent_again(
    rest: RestClient, new_player: NewPlayer
) -> None:
    sender, item_id = owner(rest, new_player, 100)
    receiver = new_player()
    answers = [
        send(rest, sender, item_id, receiver.username.upper(), idempotencyKey="k") for _ in range(2)
    ]
    assert answers[0].ok, answers[0]
    assert answers[0].raw == answers[1].raw
    gift = answers[0].body
    expected = {"state": "delivered", "reason": "", "itemId": item_id, "count": 1, "fee": FEE_GEMS}
    assert expected.items() <= gift.items()
    assert (gift["sender"], gift["to"]) == (sender.username, receiver.username)
    assert (inventory(rest, sender), inventory(rest, receiver)) == ({}, {item_id: 1})
    assert balance(rest, sender) == 100 - FEE_GEMS
    [fee, *_] = rest.ledger(sender.token).body["entries"]
    told_fee = (fee["operationId"], fee["kind"], fee["amount"])
    assert told_fee == (gift["giftId"], "gift_fee", -FEE_GEMS)
    for player in (sender, receiver):
        assert read_gift(rest, player, gift["giftId"]).body == gift
        listed = rest.call(f"{GIFTS}/ListGifts", {}, player.token).body
        assert listed == {"gifts": [gift], "nextPageToken": ""}
    assert read_gift(rest, new_player(), gift["giftId"]).reason == "GIFT_NOT_FOUND"


def test_a_gift_whose_fee_cannot_be_paid_leaves_nothing_and_its_key_may_be_tried_again(
    rest: RestClient, new_player: NewPlayer
) -> None:
    sender, item_id = owner(rest, new_player, FEE_GEMS - 1)
    receiver = new_player()
    refused = send(rest, sender, item_id, receiver.username, idempotencyKey="k")
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_CURRENCY")
    told = {"priceGems": str(FEE_GEMS), "balanceGems": str(FEE_GEMS - 1)}
    assert refused.body["details"] == told
    assert inventory(rest, sender) == {item_id: 1}
    assert balance(rest, sender) == FEE_GEMS - 1
    assert rest.call(f"{GIFTS}/ListGifts", {}, sender.token).body["gifts"] == []
    assert rest.buy_currency(sender.token, 1).ok
    assert send(rest, sender, item_id, receiver.username, idempotencyKey="k").ok
    assert (inventory(rest, sender), balance(rest, sender)) == ({}, 0)


def test_a_gift_that_cannot_be_sent_is_refused_with_its_reason(
    rest: RestClient, new_player: NewPlayer
) -> None:
    sender, item_id = owner(rest, new_player, 100)
    receiver = new_player()
    refusals = {
        "GIFT_TO_SELF": send(rest, sender, item_id, sender.username),
        "PLAYER_NOT_FOUND": send(rest, sender, item_id, "nobody-of-that-name"),
        "ITEM_NOT_OWNED": send(rest, sender, item_id, receiver.username, count=2),
    }
    assert {reason: answer.reason for reason, answer in refusals.items()} == {
        reason: reason for reason in refusals
    }
    wrong = {"itemId": (0, receiver.username, 1), "count": (item_id, receiver.username, 0)}
    for field, (item, to, count) in (wrong | {"to": (item_id, "", 1)}).items():
        assert send(rest, sender, item, to, count=count).fields == (field,)
    assert send(rest, sender, item_id, receiver.username, idempotencyKey="k").ok
    reused = send(rest, sender, item_id, receiver.username, count=2, idempotencyKey="k")
    assert reused.reason == "IDEMPOTENCY_KEY_REUSED"
    assert balance(rest, sender) == 100 - FEE_GEMS


@pytest.mark.timeout(180)
async def test_gifts_under_way_are_finished_after_any_kill(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    players = [new_player(gems=10 * PULL_GEMS + 200) for _ in range(4)]
    for player in players:
        assert rest.pull(player.token, "standard", 10).ok
    stop = asyncio.Event()
    async with httpx.AsyncClient(
        base_url=mesh.gateway, timeout=15, trust_env=False, verify=mesh.trust or True
    ) as client:
        sending = [
            asyncio.create_task(_keep_giving(client, rest, giver, to, stop))
            for giver, to in zip(players, [*players[1:], players[0]], strict=True)
        ]
        for name in ("gacha_svc-1", "account_svc-1", "gacha_svc-2", "account_svc-2"):
            await asyncio.sleep(0.7)
            await asyncio.to_thread(mesh.kill_process, name)
        await asyncio.sleep(1.0)
        stop.set()
        counts = await asyncio.gather(*sending)
    assert sum(counts) > 0
    assert await asyncio.to_thread(broken_invariants, mesh) == []
    owned = sum(sum(inventory(rest, player).values()) for player in players)
    assert owned == 10 * len(players)


async def _keep_giving(
    client: httpx.AsyncClient, rest: RestClient, giver: Player, to: Player, stop: asyncio.Event
) -> int:
    """Sends one gift after another, each until its end; returns the number of delivered ones."""
    headers = {"authorization": f"Bearer {giver.token}"}
    delivered_count = 0
    while not stop.is_set():
        listed = await _answered(client.build_request("GET", "/inventory", headers=headers), client)
        if not listed["items"]:
            await asyncio.sleep(POLL_SECONDS)
            continue
        request = client.build_request(
            "POST",
            "/gifts",
            headers=headers | {"idempotency-key": uuid4().hex},
            json={"itemId": listed["items"][0]["itemId"], "to": to.username},
        )
        ended = await _answered(request, client)
        delivered_count += ended["state"] == "delivered"
    return delivered_count


async def _answered(request: httpx.Request, client: httpx.AsyncClient) -> dict[str, Any]:
    """Repeats the request, as documented, until the outcome is final."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert time.monotonic() < deadline, "it did not end in time"
        response = await client.send(request)
        body: dict[str, Any] = response.json()
        if body.get("reason") in {"INSUFFICIENT_CURRENCY", "ITEM_NOT_OWNED"}:
            return body | {"state": "refused"}
        if response.status_code == 200 and body.get("state", "delivered") in ENDED:
            return body
        await asyncio.sleep(POLL_SECONDS)
