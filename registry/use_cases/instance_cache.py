"""The list for readers who hold no lease (xDS, scrape targets): one task keeps it current.

A registry with leases in memory knows no instance when it starts. It provides no list until
every instance has had the time to register again: readers keep their old list while there is
none, but would drop live instances that are missing from an incomplete list. When a store has
lost its list, or all leases of a service expire together, the missing instances stay listed for
the same time. The mesh's own callers do the same (`mesh.membership.instance_memory`).
"""

import asyncio
from collections.abc import Callable

import structlog

from mesh.contract.instances import Instance
from mesh.errors import MeshError
from mesh.membership.instance_memory import InstanceMemory
from registry.domain.leases import LEASE_SECONDS, Snapshot
from registry.domain.store import RegistryLeaving, Store

SETTLE_SECONDS = LEASE_SECONDS + 1.0
"""Longer than an instance needs to notice that its lease is gone and to register again."""
PAUSE_SECONDS = 0.5

log = structlog.get_logger()


class InstanceCache:
    """The instances of a store, as `run` last read them."""

    def __init__(
        self,
        store: Store,
        *,
        first_list_seconds: float = SETTLE_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """Reads the first list after `first_list_seconds`, 0 for a store that outlives this
        process. Drops missing instances after `settle_seconds`. While the store does not
        answer, retries every `pause_seconds`."""
        self._store = store
        self._first_list_seconds = first_list_seconds
        self._settle_seconds = settle_seconds
        self._pause_seconds = pause_seconds
        self._memory = InstanceMemory()
        self._taken: Snapshot | None = None
        self._settles_at: float | None = None
        self._instances: tuple[Instance, ...] | None = None
        self._is_over = False
        self._subscribers: list[Callable[[], None]] = []

    @property
    def instances(self) -> tuple[Instance, ...] | None:
        """The last list, ordered by id; None before the first one. Thread-safe."""
        return self._instances

    @property
    def is_over(self) -> bool:
        """Whether the process is stopping; the list will not change any more."""
        return self._is_over

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Calls `changed` after every change, and at the end. Returns the unsubscribe function."""
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed)

    async def run(self) -> None:
        """Runs until the store closes. Keeps the last list while the store does not answer."""
        await asyncio.sleep(self._first_list_seconds)
        is_lost = False
        while not self._is_over:
            try:
                async with asyncio.timeout_at(self._settles_at):
                    snapshot = await self._next()
            except RegistryLeaving:
                self._is_over = True
            except MeshError as error:
                if not is_lost:
                    log.warning("lose_store", reason=error.reason)
                is_lost = True
                await asyncio.sleep(self._pause_seconds)
                continue
            except TimeoutError:
                self._settles_at = None
                self._memory.settle()
            else:
                self._take(snapshot)
            is_lost = False
            self._publish()

    async def _next(self) -> Snapshot:
        if self._taken is None:
            return await self._store.snapshot()
        return await self._store.snapshot_after(self._taken.revision)

    def _take(self, snapshot: Snapshot) -> None:
        is_another_list = self._taken is not None and snapshot.list_id != self._taken.list_id
        self._taken = snapshot
        if is_another_list:
            self._memory.reconnect()
        if self._memory.take(snapshot.entries) or is_another_list:
            self._settles_at = asyncio.get_running_loop().time() + self._settle_seconds

    def _publish(self) -> None:
        self._instances = tuple(instance for _, instance in sorted(self._memory.merged().items()))
        for changed in tuple(self._subscribers):
            changed()
