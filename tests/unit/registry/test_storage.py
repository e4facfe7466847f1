"""The store in memory."""

import asyncio

import pytest

from registry.domain import Entry, State
from registry.storage import MemoryStore, StoreClosed
from tests.unit.registry.running import until

A = Entry("a", "gacha_svc", "host:1")
B = Entry("b", "gacha_svc", "host:2")


async def test_a_watcher_is_told_of_a_change_and_not_of_a_heartbeat() -> None:
    store = MemoryStore()
    lease_id = await store.register(A)
    seen = (await store.snapshot()).revision
    waiting = asyncio.create_task(store.snapshot_after(seen))
    await store.renew(lease_id, None)
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.renew(lease_id, State.DRAINING)
    snapshot = await waiting
    assert snapshot.entries == (Entry("a", "gacha_svc", "host:1", State.DRAINING),)
    assert snapshot.revision > seen


async def test_changes_that_come_together_are_told_together() -> None:
    store = MemoryStore()
    seen = (await store.snapshot()).revision
    waiting = asyncio.create_task(store.snapshot_after(seen))
    await asyncio.sleep(0)
    await store.register(A)
    await store.register(B)
    assert (await waiting).entries == (A, B)


async def test_whoever_is_behind_is_told_at_once() -> None:
    store = MemoryStore()
    seen = (await store.snapshot()).revision
    await store.register(A)
    assert (await store.snapshot_after(seen)).entries == (A,)
    assert (await store.snapshot_after(seen - 1000)).entries == (A,)


async def test_leases_run_out_while_it_runs() -> None:
    store = MemoryStore(lease_seconds=0.3)
    await store.register(A)
    running = asyncio.create_task(store.run())
    seen = (await store.snapshot()).revision
    assert (await store.snapshot_after(seen)).entries == ()
    running.cancel()


async def test_a_restarted_store_goes_on_above_the_revisions_of_the_first() -> None:
    first = MemoryStore()
    for number in range(100):
        await first.register(Entry(f"i-{number}", "s", "h:1"))
    await asyncio.sleep(0.001)
    assert (await MemoryStore().snapshot()).revision > (await first.snapshot()).revision


async def test_closing_lets_every_watcher_go() -> None:
    store = MemoryStore()
    seen = (await store.snapshot()).revision
    waiting = [asyncio.create_task(store.snapshot_after(seen)) for _ in range(3)]
    await asyncio.sleep(0)
    store.close()
    await until(lambda: all(task.done() for task in waiting))
    assert all(isinstance(task.exception(), StoreClosed) for task in waiting)
    with pytest.raises(StoreClosed):
        await store.snapshot()
