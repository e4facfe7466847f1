"""Tests of the store in memory only; for all stores see tests/storage/registry."""

import asyncio

from mesh.contract.instances import Instance
from registry.storage.memory import MemoryStore

A = Instance("a", "gacha_svc", "host:1")
B = Instance("b", "gacha_svc", "host:2")


async def test_changes_that_come_together_are_seen_together() -> None:
    store = MemoryStore()
    seen = (await store.snapshot()).revision
    waiting = asyncio.create_task(store.snapshot_after(seen))
    await asyncio.sleep(0)
    await store.register(A)
    await store.register(B)
    assert (await waiting).entries == (A, B)


async def test_a_restarted_store_has_another_list_above_the_revisions_of_the_first() -> None:
    first = MemoryStore()
    for number in range(100):
        await first.register(Instance(f"i-{number}", "s", "h:1"))
    await asyncio.sleep(0.001)
    before, after = await first.snapshot(), await MemoryStore().snapshot()
    assert after.revision > before.revision
    assert after.list_id != before.list_id
