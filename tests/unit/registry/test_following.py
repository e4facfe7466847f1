"""What those who only read are told while leases and whole lists are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from mesh.contract.instances import Instance, InstanceState
from mesh.errors import Unavailable
from registry.domain.leases import Snapshot
from registry.storage.memory import MemoryStore
from registry.use_cases.following import Following
from tests.unit.registry.running import until

A = Instance("s-1", "s", "127.0.0.1:1")
B = Instance("s-2", "s", "127.0.0.1:2")
OTHER = Instance("o-1", "o", "127.0.0.1:3")
SETTLE_SECONDS = 0.5


class Store(MemoryStore):
    """One that can be out of reach."""

    is_away = False

    async def snapshot_after(self, revision: int) -> Snapshot:
        if self.is_away:
            raise Unavailable("etcd does not answer.", reason="NO_QUORUM")
        return await super().snapshot_after(revision)


class Switch:
    """A registry's store, in front of one that may be exchanged, as when etcd lost its data."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@asynccontextmanager
async def followed(store: Any) -> AsyncIterator[Following]:
    following = Following(
        store, first_list_seconds=0.0, settle_seconds=SETTLE_SECONDS, pause_seconds=0.01
    )
    task = asyncio.create_task(following.run())
    await until(lambda: following.instances is not None)
    yield following
    task.cancel()
    await asyncio.wait([task])


async def test_leases_that_run_out_together_leave_a_service_with_whom_it_had() -> None:
    store = MemoryStore()
    leases = [await store.register(each) for each in (A, B, OTHER)]
    async with followed(store) as following:
        began_at = asyncio.get_running_loop().time()
        for lease in leases:
            await store.remove(lease)
        await store.register(OTHER)
        newcomer = replace(OTHER, id="o-2")
        await store.register(newcomer)
        await until(lambda: newcomer in (following.instances or ()))
        assert set(following.instances or ()) >= {A, B, OTHER}
        await store.register(A)
        await until(lambda: following.instances == (OTHER, newcomer, A))
        waited_seconds = asyncio.get_running_loop().time() - began_at
        assert waited_seconds >= SETTLE_SECONDS * 0.9


async def test_one_of_several_goes_at_once_and_so_does_one_that_said_so() -> None:
    store = MemoryStore()
    leases = [await store.register(each) for each in (A, B)]
    async with followed(store) as following:
        async with asyncio.timeout(SETTLE_SECONDS / 2):
            await store.remove(leases[0])
            await until(lambda: following.instances == (B,))
            await store.renew(leases[1], InstanceState.DRAINING)
            leaving = replace(B, state=InstanceState.DRAINING)
            await until(lambda: following.instances == (leaving,))
            await store.remove(leases[1])
            await until(lambda: following.instances == ())


async def test_who_is_missing_in_another_list_has_time_to_come_back() -> None:
    first, second = MemoryStore(), MemoryStore()
    await first.register(A)
    await first.register(B)
    switch = Switch(first)
    async with followed(switch) as following:
        switch.store = second
        await first.register(OTHER)
        await until(lambda: OTHER in (following.instances or ()))
        await second.register(A)
        await asyncio.sleep(SETTLE_SECONDS / 4)
        assert set(following.instances or ()) == {A, B, OTHER}
        await until(lambda: following.instances == (A,))


async def test_the_list_stands_and_does_not_settle_while_the_store_is_away() -> None:
    store = Store()
    leases = [await store.register(each) for each in (A, B)]
    async with followed(store) as following:
        for lease in leases:
            await store.remove(lease)
        store.is_away = True  # from the question after the next
        await store.register(OTHER)
        await until(lambda: OTHER in (following.instances or ()))
        await asyncio.sleep(SETTLE_SECONDS * 2)
        assert set(following.instances or ()) == {A, B, OTHER}
        store.is_away = False
        await until(lambda: following.instances == (OTHER,))
