"""Where the leases are kept, and how watchers hear of changes.

A store may be shared by several registries (`registry.etcd.store.EtcdStore`) or, as
`MemoryStore`, live in one. Revisions of one list only ever grow, so that a watcher can go
on from the last one it saw, whichever registry of that list it then asks. What a method
changed, its own store lists when the method has returned, unless the list is out of reach.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol
from uuid import uuid4

import structlog

from mesh.contract.instances import Instance, InstanceState
from registry.domain import LEASE_SECONDS, Leases, Snapshot

SWEEP_SECONDS = 0.2
log = structlog.get_logger()


class StoreClosed(Exception):
    """The store takes nothing and tells nothing any more: the process is leaving."""


class Store(Protocol):
    """Keeps the leases, while `run` runs.

    What changes something raises Unavailable, within a second, when what is below does not
    answer; the list goes on as it was last known.
    """

    @property
    def lease_seconds(self) -> float:
        """How long a lease holds without being renewed."""
        ...

    async def register(self, entry: Instance) -> str:
        """Lists an instance under a new lease, in place of any that it had, and returns
        the lease's id. Raises InvalidArgument or RegistryFull."""
        ...

    async def renew(self, lease_id: str, state: InstanceState | None) -> None:
        """Renews a lease; changes the instance's state unless None. Raises LeaseExpired."""
        ...

    async def remove(self, lease_id: str) -> None:
        """Takes an instance off the list. Idempotent."""
        ...

    async def holder(self, lease_id: str) -> str | None:
        """The id of the instance that a lease keeps listed; None when it keeps none."""
        ...

    async def snapshot(self) -> Snapshot:
        """The list as it stands. Raises StoreClosed, or Unavailable when none is known yet."""
        ...

    async def snapshot_after(self, revision: int) -> Snapshot:
        """The list as it stands, once its revision is another than the given one.

        Changes that come together are told together. Raises StoreClosed.
        """
        ...

    def has_list(self) -> bool:
        """Whether a list is known: whether this store is of use to anybody."""
        ...

    async def run(self) -> None:
        """Keeps the list true, for ever; what it holds is let go when it is cancelled."""
        ...

    def close(self) -> None:
        """Lets every watcher go. Idempotent."""
        ...


class MemoryStore:
    """A `Store` in this process, whose list is another one after each start."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        new_lease_id: Callable[[], str] = lambda: uuid4().hex,
        first_revision: int | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`clock` is monotonic, in seconds. The first revision is, unless given, the
        wall clock's microseconds, so that a restarted registry goes on above."""
        if first_revision is None:
            first_revision = time.time_ns() // 1000
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._leases = Leases(
            new_lease_id,
            clock(),
            list_id=uuid4().hex,
            first_revision=first_revision,
            lease_seconds=lease_seconds,
        )
        self._snapshot = self._leases.snapshot()
        self._changed = asyncio.Event()
        self._is_closed = False

    async def register(self, entry: Instance) -> str:
        lease_id = self._leases.register(entry, self._clock())
        self._tell()
        log.info("list_instance", target=entry.id, service=entry.service, address=entry.address)
        return lease_id

    async def renew(self, lease_id: str, state: InstanceState | None) -> None:
        self._leases.renew(lease_id, state, self._clock())
        self._tell()

    async def remove(self, lease_id: str) -> None:
        self._leases.remove(lease_id)
        self._tell()

    async def holder(self, lease_id: str) -> str | None:
        return self._leases.holder(lease_id)

    async def snapshot(self) -> Snapshot:
        if self._is_closed:
            raise StoreClosed
        return self._snapshot

    async def snapshot_after(self, revision: int) -> Snapshot:
        while self._snapshot.revision == revision and not self._is_closed:
            await self._changed.wait()
        if self._is_closed:
            raise StoreClosed
        return self._snapshot

    def sweep(self) -> None:
        """Takes off the list whose lease has run out."""
        for entry in self._leases.sweep(self._clock()):
            log.warning("lose_instance", target=entry.id, service=entry.service)
        self._tell()

    def has_list(self) -> bool:
        return True

    async def run(self) -> None:
        while True:
            self.sweep()
            await asyncio.sleep(SWEEP_SECONDS)

    def close(self) -> None:
        self._is_closed = True
        self._changed.set()

    def _tell(self) -> None:
        """Wakes the watchers if the list has changed."""
        if self._leases.revision != self._snapshot.revision:
            self._snapshot = self._leases.snapshot()
            self._changed.set()
            if not self._is_closed:
                self._changed = asyncio.Event()
