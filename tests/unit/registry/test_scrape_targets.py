"""`/sd`, and the registry's own entry."""

import asyncio
import json
from http import HTTPStatus

from mesh.contract.instances import Instance, InstanceState
from registry.rpc.scrape_targets import scrape_targets_page
from registry.storage.memory import MemoryStore
from registry.use_cases.instance_cache import InstanceCache
from registry.use_cases.own_entry import OwnEntry
from tests.unit.registry.running import until

A = Instance("a-1", "a", "127.0.0.1:1", InstanceState.DRAINING, "127.0.0.1:9")
SILENT = Instance("b-1", "b", "127.0.0.1:2")


async def test_instances_with_a_metrics_address_are_scrape_targets() -> None:
    store = MemoryStore()
    cache = InstanceCache(store, first_list_seconds=0.0)
    page = scrape_targets_page(cache)
    assert page()[0] is HTTPStatus.SERVICE_UNAVAILABLE
    await store.register(SILENT)
    task = asyncio.create_task(cache.run())
    await until(lambda: cache.instances is not None)
    assert page() == (HTTPStatus.OK, "application/json", b"[]")
    await store.register(A)
    await until(lambda: page()[2] != b"[]")
    assert json.loads(page()[2]) == [
        {
            "targets": ["127.0.0.1:9"],
            "labels": {
                "service": "a",
                "instance": "a-1",
                "__meta_mesh_state": "draining",
                "__meta_mesh_address": "127.0.0.1:1",
            },
        }
    ]
    store.close()
    await task


async def test_a_registry_keeps_its_own_entry_until_it_leaves() -> None:
    now = [0.0]
    store = MemoryStore(clock=lambda: now[0])
    own = OwnEntry(SILENT, store, heartbeat_seconds=0.01)
    own.start()

    async def listed() -> list[Instance]:
        return list((await store.snapshot()).entries)

    async def until_listed() -> None:
        revision = (await store.snapshot()).revision
        if not await listed():
            await store.snapshot_after(revision)

    await until_listed()
    for _ in range(30):  # the lease expires, and the entry registers again
        now[0] += 0.9
        store.sweep()
    await until_listed()
    assert await listed() == [SILENT]
    await own.drain()
    assert [entry.state for entry in await listed()] == [InstanceState.DRAINING]
    await own.deregister()
    assert await listed() == []
