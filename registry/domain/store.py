"""The port to the store of leases, which notifies watchers of changes.

Several registries may share a store (`registry.adapters.etcd.store.EtcdStore`), or each has its
own (`registry.storage.memory.MemoryStore`). Revisions of one list only grow, so that a watcher
can continue from its last revision at any registry of that list. When a method returns, its
store's list shows the change, unless the store cannot update its list.
"""

from typing import Protocol

from mesh.contract.instances import Instance, InstanceState
from mesh.errors import Unavailable
from registry.domain.leases import Snapshot


class RegistryLeaving(Unavailable):
    """The store is closed because its process is stopping; callers use another registry."""

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
        """How long a lease is valid without a renewal."""
        ...

    async def register(self, entry: Instance) -> str:
        """Lists an instance under a new lease, which replaces its earlier one. Returns the
        lease's id. Raises InvalidArgument or RegistryFull."""
        ...

    async def renew(self, lease_id: str, state: InstanceState | None) -> None:
        """Renews a lease, and sets the instance's state unless it is None. Raises
        LeaseExpired."""
        ...

    async def remove(self, lease_id: str) -> None:
        """Removes an instance from the list. Idempotent."""
        ...

    async def holder(self, lease_id: str) -> str | None:
        """The id of the lease's instance; None for an unknown lease."""
        ...

    async def snapshot(self) -> Snapshot:
        """The present list. Raises RegistryLeaving, or Unavailable before the first list."""
        ...

    async def snapshot_after(self, revision: int) -> Snapshot:
        """Waits until the list's revision differs from the given one, and returns the list.

        Concurrent changes may arrive as one. Raises RegistryLeaving.
        """
        ...

    def has_list(self) -> bool:
        """Whether this store has a list, so that it can answer readers."""
        ...

    async def run(self) -> None:
        """Keeps the list current until it is cancelled, and then releases its resources."""
        ...

    def close(self) -> None:
        """Ends every watch with RegistryLeaving. Idempotent."""
        ...
