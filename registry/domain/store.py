"""The port to what keeps the leases and lets watchers hear of changes.

A store may be shared by several registries (`registry.adapters.etcd.store.EtcdStore`) or
live in one (`registry.storage.memory.MemoryStore`). Revisions of one list only ever grow, so
that a watcher can go on from the last one it saw, whichever registry of that list it then
asks. What a method changed, its own store lists when the method has returned, unless the
list is out of reach.
"""

from typing import Protocol

from mesh.contract.instances import Instance, InstanceState
from mesh.errors import Unavailable
from registry.domain.leases import Snapshot


class RegistryLeaving(Unavailable):
    """The store is closed, for its process is leaving; callers go to another registry."""

    REASON = "REGISTRY_LEAVING"

    def __init__(self) -> None:
        super().__init__("This registry is leaving; ask another.")


class Store(Protocol):
    """Keeps the leases, while `run` runs.

    A change raises Unavailable, within a second, when the storage below does not answer;
    readers then see the list as it was last known.
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
        """The list as it stands. Raises RegistryLeaving, or Unavailable when none is known yet."""
        ...

    async def snapshot_after(self, revision: int) -> Snapshot:
        """The list as it stands, once its revision is another than the given one.

        Changes that come together are seen together. Raises RegistryLeaving.
        """
        ...

    def has_list(self) -> bool:
        """Whether a list is known, so that this store can answer readers."""
        ...

    async def run(self) -> None:
        """Keeps the list current until it is cancelled, and then releases what it holds."""
        ...

    def close(self) -> None:
        """Ends every watch with RegistryLeaving. Idempotent."""
        ...
