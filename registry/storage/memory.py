"""Leases in the memory of one registry."""

import asyncio
import time
from collections.abc import Callable
from uuid import uuid4

import structlog

from mesh.contract.instances import Instance, InstanceState
from mesh.rounds import pause
from registry.domain.leases import LEASE_SECONDS, Leases, Snapshot
from registry.domain.store import RegistryLeaving

SWEEP_SECONDS = 0.2
log = structlog.get_logger()


class MemoryStore:
    """A `Store` in this process. Each start creates a new list."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        new_lease_id: Callable[[], str] = lambda: uuid4().hex,
        list_id: str = "",
        first_revision: int | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`clock` is monotonic, in seconds. By default the list's id is random, and the first
        revision is the wall clock in microseconds, so that a restarted registry continues above
        the old revision."""
        if first_revision is None:
            first_revision = time.time_ns() // 1000
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._leases = Leases(
            new_lease_id,
            clock(),
            list_id=list_id or uuid4().hex,
            first_revision=first_revision,
            lease_seconds=lease_seconds,
        )
        self._snapshot = self._leases.snapshot()
        self._changed = asyncio.Event()
        self._is_closed = False

    @property
    def entries(self) -> tuple[Instance, ...]:
        """The listed instances."""
        return self._snapshot.entries

    async def register(self, entry: Instance) -> str:
        lease_id = self._leases.register(entry, self._clock())
        self._publish()
        log.info("list_instance", target=entry.id, service=entry.service, address=entry.address)
        return lease_id

    async def renew(self, lease_id: str, state: InstanceState | None) -> None:
        self._leases.renew(lease_id, state, self._clock())
        self._publish()

    async def remove(self, lease_id: str) -> None:
        self._leases.remove(lease_id)
        self._publish()

    async def holder(self, lease_id: str) -> str | None:
        return self._leases.holder(lease_id)

    async def snapshot(self) -> Snapshot:
        if self._is_closed:
            raise RegistryLeaving
        return self._snapshot

    async def snapshot_after(self, revision: int) -> Snapshot:
        while self._snapshot.revision == revision and not self._is_closed:
            await self._changed.wait()
        if self._is_closed:
            raise RegistryLeaving
        return self._snapshot

    def sweep(self) -> None:
        """Removes the instances whose lease has expired."""
        for entry in self._leases.sweep(self._clock()):
            log.warning("lose_instance", target=entry.id, service=entry.service)
        self._publish()

    def has_list(self) -> bool:
        return True

    async def run(self) -> None:
        while True:
            self.sweep()
            await pause(SWEEP_SECONDS)

    def close(self) -> None:
        self._is_closed = True
        self._changed.set()

    def _publish(self) -> None:
        """Wakes the watchers if the list has changed."""
        if self._leases.revision != self._snapshot.revision:
            self._snapshot = self._leases.snapshot()
            self._changed.set()
            if not self._is_closed:
                self._changed = asyncio.Event()
