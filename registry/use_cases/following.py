"""The list as those tell it who only read: followed by one task, and always at hand.

A registry that keeps its leases in memory knows nobody when it starts. Until instances have
had the time to register anew there is no list here, for one with holes would have its
readers drop instances that live; whoever had a list from before keeps that. When a store has
lost its list, or all leases of a service have run out together, those who are missing stay
for as long, as they do with callers of the mesh (`mesh.membership.instance_memory`).
"""

import asyncio
from collections.abc import Callable

import structlog

from mesh.contract.instances import Instance
from mesh.errors import MeshError
from mesh.membership.instance_memory import InstanceMemory
from registry.domain.leases import LEASE_SECONDS, Snapshot
from registry.domain.store import Store, StoreClosed

SETTLE_SECONDS = LEASE_SECONDS + 1.0
"""Longer than an instance needs to find that its lease is gone, and to register again."""
PAUSE_SECONDS = 0.5

log = structlog.get_logger()


class Following:
    """Follows a store. Call `run` beside it."""

    def __init__(
        self,
        store: Store,
        *,
        first_list_seconds: float = SETTLE_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """`first_list_seconds` is waited before the first list, 0 for a store that outlives
        this process; the pause is between attempts while the store does not answer."""
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
        """The last list, ordered by id; None before there is one. May be asked by any thread."""
        return self._instances

    @property
    def is_over(self) -> bool:
        """Whether the process is leaving: the list will not change any more."""
        return self._is_over

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called after every change, and at the end; the answer ends that."""
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed)

    async def run(self) -> None:
        """Follows until the store closes. While it does not answer, the last list stands."""
        await asyncio.sleep(self._first_list_seconds)
        is_lost = False
        while not self._is_over:
            try:
                async with asyncio.timeout_at(self._settles_at):
                    snapshot = await self._next()
            except StoreClosed:
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
            self._tell()

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

    def _tell(self) -> None:
        self._instances = tuple(instance for _, instance in sorted(self._memory.merged().items()))
        for changed in tuple(self._subscribers):
            changed()
