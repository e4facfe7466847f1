"""Registry stores that end with the test."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self
from uuid import uuid4

from mesh.contract.instances import Instance
from mesh.errors import MeshError
from registry.adapters.etcd.client import EtcdClient
from registry.adapters.etcd.store import EtcdStore
from registry.domain.leases import MAX_INSTANCES, LeaseExpired
from registry.domain.store import Store
from registry.storage.memory import MemoryStore
from tests.unit.registry.running import until

A = Instance("a-1", "a", "127.0.0.1:1", metrics_address="127.0.0.1:9101")
B = Instance("b-1", "b", "127.0.0.1:2")


class Stores:
    """Runs stores; the etcd stores of one `Stores` share a list."""

    def __init__(self) -> None:
        self.prefix = f"/test-{uuid4().hex}/"
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def in_memory(self, lease_seconds: float) -> MemoryStore:
        store = MemoryStore(lease_seconds=lease_seconds)
        self.run(store.run)
        return store

    async def over(
        self,
        members: Sequence[str],
        *,
        first_turn: int = 0,
        lease_seconds: float = 2.0,
        max_instances: int = MAX_INSTANCES,
    ) -> EtcdStore:
        """A registry's store on these etcd members; waits until it has its list."""
        store = EtcdStore(
            EtcdClient(members, first_turn=first_turn),
            prefix=self.prefix,
            lease_seconds=lease_seconds,
            max_instances=max_instances,
        )
        self.run(store.run)
        await until(store.has_list, 30.0)
        return store

    def run(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Runs a store in the background until the test ends."""

        async def running() -> None:
            await work()

        task = asyncio.create_task(running())
        self._running.append(task)
        return task


class Heart:
    """Renews a lease like an instance: often, at any registry that accepts it."""

    def __init__(self, lease_id: str, stores: Sequence[Store], beat_seconds: float = 0.5) -> None:
        self._lease_id = lease_id
        self._stores = stores
        self._beat_seconds = beat_seconds
        self.beat_count = 0
        self.failures: list[str] = []
        self.is_expired = False

    async def run(self) -> None:
        turn = 0
        while not self.is_expired:
            try:
                await self._stores[turn % len(self._stores)].renew(self._lease_id, None)
            except LeaseExpired:
                self.is_expired = True
            except MeshError as error:
                self.failures.append(error.reason)
                turn += 1
            else:
                self.beat_count += 1
            await asyncio.sleep(self._beat_seconds)

    async def beats(self, count: int = 2, timeout_seconds: float = 30.0) -> None:
        """Waits for that many more successful renewals."""
        wanted = self.beat_count + count
        await until(lambda: self.is_expired or self.beat_count >= wanted, timeout_seconds)
        assert not self.is_expired, "the lease ran out"


async def ids(store: Store) -> list[str]:
    return [entry.id for entry in (await store.snapshot()).entries]


async def until_ids(store: Store, expected: list[str], timeout_seconds: float = 30.0) -> None:
    """Waits until the store's list has exactly these ids."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            while (snapshot := await store.snapshot()) and await ids(store) != expected:
                await store.snapshot_after(snapshot.revision)
    assert await ids(store) == expected
