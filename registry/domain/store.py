"""What keeps the leases, and how watchers hear of changes: the interface of every store.

A store may be shared by several registries (`registry.adapters.etcd.store.EtcdStore`) or
live in one (`registry.storage.memory.MemoryStore`). Revisions of one list only ever grow, so
that a watcher can go on from the last one it saw, whichever registry of that list it then
asks. What a method changed, its own store lists when the method has returned, unless the
list is out of reach.
"""

from typing import Protocol

from mesh.contract.instances import Instance, InstanceState
from registry.domain.leases import Snapshot


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
