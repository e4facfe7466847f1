"""Maintains the registry's own entry on its list, like that of any instance.

So `xds:///registry` and Prometheus find every registry that shares the store, and callers see
when one is leaving. The entry is written directly to the store, so that a registry is listed
even before it can be called.
"""

from dataclasses import replace

import structlog

from mesh.background import BackgroundTask
from mesh.contract.instances import Instance, InstanceState
from mesh.errors import MeshError
from mesh.rounds import pause
from registry.domain.leases import LeaseExpired
from registry.domain.store import Store

HEARTBEAT_SECONDS = 1.0

log = structlog.get_logger()


class OwnEntry:
    """Keeps one entry in a store; a `mesh.process.runtime.Entry`."""

    def __init__(
        self, entry: Instance, store: Store, *, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        self._entry = entry
        self._store = store
        self._heartbeat_seconds = heartbeat_seconds
        self._lease_id: str | None = None
        self._keeping: BackgroundTask | None = None

    def start(self) -> None:
        """Starts to maintain the entry, until `deregister`."""
        assert self._keeping is None, "started twice"
        self._keeping = BackgroundTask(self._keep(), "own-entry")

    async def drain(self) -> None:
        """Lists this registry as draining, so that callers send no new calls."""
        self._entry = replace(self._entry, state=InstanceState.DRAINING)
        await self._keep_once()

    async def deregister(self) -> None:
        """Removes the entry from the list. Idempotent."""
        if self._keeping is not None:
            await self._keeping.end()
        lease_id, self._lease_id = self._lease_id, None
        if lease_id is not None:
            try:
                await self._store.remove(lease_id)
            except MeshError as error:  # the lease expires by itself
                log.warning("fail_deregister", target=self._entry.id, reason=error.reason)

    async def _keep(self) -> None:
        while True:
            await self._keep_once()
            await pause(self._heartbeat_seconds)

    async def _keep_once(self) -> None:
        try:
            if self._lease_id is not None:
                await self._store.renew(self._lease_id, self._entry.state)
                return
        except LeaseExpired:
            self._lease_id = None
        except MeshError as error:
            log.warning("fail_own_heartbeat", target=self._entry.id, reason=error.reason)
            return
        try:
            self._lease_id = await self._store.register(self._entry)
        except MeshError as error:
            log.warning("fail_own_entry", target=self._entry.id, reason=error.reason)
