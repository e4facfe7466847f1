"""What readers see when leases or whole lists are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from mesh.contract.instances import Instance, InstanceState
from mesh.errors import Unavailable
from registry.domain.leases import Snapshot
from registry.storage.memory import MemoryStore
from registry.use_cases.instance_cache import InstanceCache
from tests.unit.registry.running import until

A = Instance("s-1", "s", "127.0.0.1:1")
B = Instance("s-2", "s", "127.0.0.1:2")
OTHER = Instance("o-1", "o", "127.0.0.1:3")
SETTLE_SECONDS = 0.5


class Store(MemoryStore):
    """A store that can be unavailable, or be replaced by one with another list."""

    is_away = False
    successor: MemoryStore | None = None

    async def snapshot_after(self, revision: int) -> Snapshot:
        if self.is_away:
            raise Unavailable("etcd does not answer.", reason="NO_QUORUM")
        if self.successor is not None:
            return await self.successor.snapshot_after(revision)
        return await super().snapshot_after(revision)


@asynccontextmanager
async def followed(store: MemoryStore) -> AsyncIterator[InstanceCache]:
    cache = InstanceCache(
        store, first_list_seconds=0.0, settle_seconds=SETTLE_SECONDS, pause_seconds=0.01
    )
    task = asyncio.create_task(cache.run())
    await until(lambda: cache.instances is not None)
    yield cache
    task.cancel()
    await asyncio.wait([task])


async def test_leases_that_run_out_together_leave_a_service_with_whom_it_had() -> None:
    store = MemoryStore()
    leases = [await store.register(each) for each in (A, B, OTHER)]
    async with followed(store) as cache:
        began_at = asyncio.get_running_loop().time()
        for lease in leases:
            await store.remove(lease)
        await store.register(OTHER)
        newcomer = replace(OTHER, id="o-2")
        await store.register(newcomer)
        await until(lambda: newcomer in (cache.instances or ()))
        assert set(cache.instances or ()) >= {A, B, OTHER}
        await store.register(A)
        await until(lambda: cache.instances == (OTHER, newcomer, A))
        waited_seconds = asyncio.get_running_loop().time() - began_at
        assert waited_seconds >= SETTLE_SECONDS * 0.9


async def test_one_of_several_goes_at_once_and_so_does_one_that_said_so() -> None:
    store = MemoryStore()
    leases = [await store.register(each) for each in (A, B)]
    async with followed(store) as cache:
        async with asyncio.timeout(SETTLE_SECONDS / 2):
            await store.remove(leases[0])
            await until(lambda: cache.instances == (B,))
            await store.renew(leases[1], InstanceState.DRAINING)
            leaving = replace(B, state=InstanceState.DRAINING)
            await until(lambda: cache.instances == (leaving,))
            await store.remove(leases[1])
            await until(lambda: cache.instances == ())


async def test_an_instance_missing_in_another_list_has_time_to_return() -> None:
    first, second = Store(), MemoryStore()
    await first.register(A)
    await first.register(B)
    async with followed(first) as cache:
        first.successor = second  # from the question after the next
        await first.register(OTHER)
        await until(lambda: OTHER in (cache.instances or ()))
        await second.register(A)
        await asyncio.sleep(SETTLE_SECONDS / 4)
        assert set(cache.instances or ()) == {A, B, OTHER}
        await until(lambda: cache.instances == (A,))


async def test_the_list_stands_and_does_not_settle_while_the_store_is_away() -> None:
    store = Store()
    leases = [await store.register(each) for each in (A, B)]
    async with followed(store) as cache:
        for lease in leases:
            await store.remove(lease)
        store.is_away = True  # from the question after the next
        await store.register(OTHER)
        await until(lambda: OTHER in (cache.instances or ()))
        await asyncio.sleep(SETTLE_SECONDS * 2)
        assert set(cache.instances or ()) == {A, B, OTHER}
        store.is_away = False
        await until(lambda: cache.instances == (OTHER,))
