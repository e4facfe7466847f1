"""Many pulls or purchases of one player at the same time: each is paid and done, or refused."""

import asyncio
from collections import Counter

import httpx
import pytest

from proof.clients.rest_client import RestClient
from proof.invariants import broken_invariants, query
from proof.load.pull_load import PullLoad
from proof.load.purchase_burst import Buyer
from proof.load.seeded_players import SeededPlayer, make_players
from proof.players import NewPlayer
from proof.stack import Mesh

PULLS = 32
AFFORDED = 10
PRICE_GEMS = 160
NEW_PLAYERS = 60
KEYS, COPIES, AT_ONCE = 100, 2, 32
MOST_SECONDS = 15.0
"""Of a burst of purchases: five times what `--only neighbours` of the bench is to show on an idle
machine. Without a queue for busy wallets, some took longer than 40 seconds."""


@pytest.mark.parametrize("count", [1, 10])
async def test_a_player_who_can_pay_for_ten_gets_ten_of_thirty_two(mesh: Mesh, count: int) -> None:
    load = PullLoad(mesh.gateway, trust=mesh.trust, seed=1)
    async with load.client() as client:
        player = await load.player(client, AFFORDED * count * PRICE_GEMS)

        async def pull() -> tuple[int, str | None]:
            answer = await client.post(
                "/gacha/pull/standard", json={"count": count}, headers=player.headers
            )
            return answer.status_code, answer.json().get("reason")

        answers = Counter(await asyncio.gather(*(pull() for _ in range(PULLS))))
        balance = (await client.get("/currency", headers=player.headers)).json()
    assert answers == {
        (200, None): AFFORDED,
        (400, "INSUFFICIENT_CURRENCY"): PULLS - AFFORDED,
    }
    assert balance == {"userId": player.user_id, "currencyBalance": 0, "debtGems": 0}
    assert broken_invariants(mesh) == []


async def test_both_gacha_instances_share_the_load(mesh: Mesh) -> None:
    load = PullLoad(mesh.gateway, trust=mesh.trust, seed=2)
    async with load.client() as client:
        players = await asyncio.gather(*(load.player(client, 1600) for _ in range(8)))
        answers: list[httpx.Response] = await asyncio.gather(
            *(
                client.post("/gacha/pull/standard", headers=player.headers, json={})
                for player in players
                for _ in range(4)
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    committed = "SELECT DISTINCT split_part(gid, ':', 1) FROM tx_branch WHERE NOT aborted"
    coordinators = query(mesh, "gacha", committed)
    assert {(each["name"],) for each in mesh.processes("gacha_svc")} <= set(coordinators)


async def test_one_key_sent_many_times_at_once_is_one_pull(mesh: Mesh) -> None:
    load = PullLoad(mesh.gateway, trust=mesh.trust, seed=3)
    async with load.client() as client:
        player = await load.player(client, 16_000)
        settled = await asyncio.gather(*(load.pull(client, player, 10, "once") for _ in range(16)))
        balance = (await client.get("/currency", headers=player.headers)).json()["currencyBalance"]
    assert len({one.body for one in settled}) == 1
    assert balance == 16_000 - 10 * PRICE_GEMS


async def test_first_pulls_of_a_kind_at_once_count_each_other(mesh: Mesh) -> None:
    players = await asyncio.to_thread(make_players, mesh, NEW_PLAYERS)
    load = PullLoad(mesh.gateway, trust=mesh.trust, seed=4)
    async with load.client() as client:

        async def post(player: SeededPlayer, path: str, body: dict[str, object]) -> int:
            headers = {"authorization": f"Bearer {player.token}"}
            return (await client.post(path, json=body, headers=headers)).status_code

        purchase = {"amount": 3 * PRICE_GEMS, "paymentMethod": "credit_card"}
        bought = [await post(player, "/buy-currency", purchase) for player in players]
        pulled = await asyncio.gather(
            *(
                post(player, f"/gacha/pull/{banner}", {})
                for player in players
                for banner in ("standard", "lamplighter", "standard")
            )
        )
    assert {*bought, *pulled} == {200}
    assert broken_invariants(mesh) == []


async def test_two_hundred_posts_of_one_player_are_credited_whole_and_soon(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    buyer = Buyer(mesh.gateway, mesh.trust, player.token)
    burst = await buyer.burst(key_count=KEYS, copies=COPIES, at_once=AT_ONCE)
    assert burst.seconds < MOST_SECONDS
    assert [len(answers) for answers in burst.answers.values()] == [COPIES] * KEYS
    assert all(len(set(answers)) == 1 for answers in burst.answers.values())
    assert rest.currency(player.token).body["currencyBalance"] == KEYS
    assert broken_invariants(mesh) == []
