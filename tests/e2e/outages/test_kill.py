"""SIGKILL of services under load: the runner restarts them, and retries settle all pulls."""

import asyncio
import time
from collections.abc import Sequence
from uuid import uuid4

import pytest

from proof.invariants import broken_invariants, debits_without_pull, query
from proof.load.pull_load import PullLoad, Settled
from proof.stack import Mesh

CONNECTIONS = 12
ROUNDS = 3
LOAD_SECONDS_BETWEEN = 1.0

KILLS = {
    "one account_svc": ["account_svc-1"],
    "the other account_svc": ["account_svc-2"],
    "one gacha_svc": ["gacha_svc-1"],
    "the other gacha_svc": ["gacha_svc-2"],
    "both account_svc": ["account_svc-1", "account_svc-2"],
    "both gacha_svc": ["gacha_svc-1", "gacha_svc-2"],
    "one of each": ["account_svc-1", "gacha_svc-2"],
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("names", KILLS.values(), ids=KILLS.keys())
async def test_killed_under_load_nothing_is_lost(mesh: Mesh, names: Sequence[str]) -> None:
    load = PullLoad(mesh.gateway, trust=mesh.trust, seed=len(names))
    async with load.client() as client:
        rich = [await load.player(client, 1_000_000) for _ in range(6)]
        poor = [await load.player(client, 800) for _ in range(2)]
        running = asyncio.create_task(load.run([*rich, *poor], CONNECTIONS))
        for _ in range(ROUNDS):
            await asyncio.sleep(LOAD_SECONDS_BETWEEN)
            await asyncio.gather(*(asyncio.to_thread(mesh.kill_process, name) for name in names))
            assert await asyncio.to_thread(debits_without_pull, mesh) == []
        await asyncio.sleep(LOAD_SECONDS_BETWEEN)
        load.stop()
        await running
        assert await asyncio.to_thread(broken_invariants, mesh) == []
        await _assert_answers_stand(load, mesh)


async def _assert_answers_stand(load: PullLoad, mesh: Mesh) -> None:
    """Successful pulls are stored and are answered again; refused ones cost nothing."""
    successes = [settled for settled in load.settled if settled.succeeded]
    assert successes, "the load did something"
    async with load.client() as client:
        for settled in successes[-40:]:
            again = await load.pull(client, settled.player, settled.count, settled.key)
            assert again.body == settled.body
    assert _pull_counts(mesh, load) == _counts(successes)


def _counts(successes: Sequence[Settled]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for settled in successes:
        user_id = settled.player.user_id
        counts[user_id] = counts.get(user_id, 0) + settled.count
    return counts


def _pull_counts(mesh: Mesh, load: PullLoad) -> dict[str, int]:
    """Single draws stored for each of the load's players."""
    players = {settled.player.user_id for settled in load.settled}
    stored = query(mesh, "gacha", "SELECT user_id::text, sum(count) FROM pull GROUP BY user_id")
    return {str(user_id): int(str(total)) for user_id, total in stored if user_id in players}


async def test_killed_services_are_back_and_found_within_seconds(mesh: Mesh) -> None:
    async with PullLoad(mesh.gateway, trust=mesh.trust, seed=9).client() as client:
        for name in ("account_svc-1", "account_svc-2"):
            await asyncio.to_thread(mesh.kill_process, name)
        began = time.monotonic()
        credentials = {"username": f"back-{uuid4().hex[:8]}", "password": "wrong password"}
        while (answer := await client.post("/login", json=credentials)).status_code != 401:
            assert answer.json()["reason"] == "ALL_INSTANCES_UNAVAILABLE"
            assert time.monotonic() - began < 15
            await asyncio.sleep(0.05)
