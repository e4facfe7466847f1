"""Leases: which instances are listed as live, and for how long. Pure.

Invariants, at any time:
- An instance id has at most one lease, and a lease belongs to one instance.
- The revision grows whenever the list changes, and only then.
- An instance that does not renew its lease for its full time leaves the list at the next
  sweep. Time without sweeps does not count, because the registry could not receive renewals.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from mesh.addresses import is_callable_host
from mesh.contract.instances import Instance, InstanceState
from mesh.errors import InvalidArgument, NotFound, ResourceExhausted

LEASE_SECONDS = 3.0
MAX_INSTANCES = 10_000
MAX_NAME_LENGTH = 100
MAX_ADDRESS_LENGTH = 260
MAX_SWEEP_GAP_SECONDS = 1.0
"""A longer gap between sweeps means that the registry was frozen or starved."""

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HOST_AND_PORT = re.compile(r"(?P<host>[^\n]+):(?P<port>[0-9]{1,5})", re.ASCII)


class LeaseExpired(NotFound):
    """The lease has expired, was replaced or never existed. The instance registers again."""

    REASON = "LEASE_EXPIRED"

    def __init__(self) -> None:
        super().__init__("This lease is not held here (any more); register the instance again.")


class RegistryFull(ResourceExhausted):
    REASON = "REGISTRY_FULL"

    def __init__(self, max_instances: int, retry_after_seconds: float) -> None:
        super().__init__(
            f"The registry holds {max_instances} instances and takes no more.",
            retry_after_seconds=retry_after_seconds,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole list, ordered by id, with its revision.

    Revisions can be compared only for the same `list_id`. A registry that has lost its list
    starts one with another `list_id`; instances may be missing from it until they register
    again.
    """

    revision: int
    entries: tuple[Instance, ...]
    list_id: str = ""

    def of_service(self, service: str) -> "Snapshot":
        """The instances of one service; all if `service` is empty."""
        if not service:
            return self
        chosen = tuple(entry for entry in self.entries if entry.service == service)
        return Snapshot(self.revision, chosen, self.list_id)


def validate(entry: Instance) -> None:
    """Raises InvalidArgument naming the invalid field of the instance."""
    for field, value in (("instance.id", entry.id), ("instance.service", entry.service)):
        if not (len(value) <= MAX_NAME_LENGTH and _VISIBLE.fullmatch(value)):
            raise InvalidArgument.of_field(
                field, f"must be 1 to {MAX_NAME_LENGTH} visible ASCII characters"
            )
    _check_address("instance.address", entry.address)
    if entry.metrics_address:
        _check_address("instance.metrics_address", entry.metrics_address)


def _check_address(field: str, address: str) -> None:
    found = _HOST_AND_PORT.fullmatch(address)
    is_short = len(address) <= MAX_ADDRESS_LENGTH
    if not (found and is_short and 0 < int(found["port"]) < 65536):
        raise InvalidArgument.of_field(
            field, "must be host:port, such as 127.0.0.1:7000 or [::1]:7000"
        )
    if not is_callable_host(found["host"]):
        raise InvalidArgument.of_field(
            field, "must have a host that others can call: a name, or the IP address of one machine"
        )


@dataclass(slots=True)
class _Lease:
    entry: Instance
    expires_at: float


class Leases:
    """The table of leases. Not safe for threads."""

    def __init__(
        self,
        new_lease_id: Callable[[], str],
        now: float,
        *,
        list_id: str = "",
        first_revision: int = 0,
        lease_seconds: float = LEASE_SECONDS,
        max_instances: int = MAX_INSTANCES,
    ) -> None:
        """`now`, here and below, is a monotonic time in seconds."""
        self._new_lease_id = new_lease_id
        self._list_id = list_id
        self._lease_seconds = lease_seconds
        self._max_instances = max_instances
        self._leases: dict[str, _Lease] = {}
        self._lease_ids: dict[str, str] = {}
        self._revision = first_revision
        self._swept_at = now

    def register(self, entry: Instance, now: float) -> str:
        """Lists an instance under a new lease, which replaces its earlier one. Returns its id.

        Raises RegistryFull, or InvalidArgument naming the field.
        """
        validate(entry)
        old_id = self._lease_ids.get(entry.id)
        if old_id is None and len(self._leases) >= self._max_instances:
            raise RegistryFull(self._max_instances, self._lease_seconds)
        old = None if old_id is None else self._leases.pop(old_id)
        lease_id = self._new_lease_id()
        self._leases[lease_id] = _Lease(entry, now + self._lease_seconds)
        self._lease_ids[entry.id] = lease_id
        if old is None or old.entry != entry:
            self._revision += 1
        return lease_id

    def renew(self, lease_id: str, state: InstanceState | None, now: float) -> None:
        """Renews a lease for its full time, and sets the instance's state unless it is None.

        Raises LeaseExpired. Idempotent.
        """
        lease = self._leases.get(lease_id)
        if lease is None:
            raise LeaseExpired
        lease.expires_at = now + self._lease_seconds
        if state is not None and state is not lease.entry.state:
            lease.entry = replace(lease.entry, state=state)
            self._revision += 1

    def holder(self, lease_id: str) -> str | None:
        """The id of the lease's instance; None for an unknown lease."""
        lease = self._leases.get(lease_id)
        return None if lease is None else lease.entry.id

    def remove(self, lease_id: str) -> None:
        """Removes an instance from the list. Idempotent: an unknown lease changes nothing."""
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            del self._lease_ids[lease.entry.id]
            self._revision += 1

    def sweep(self, now: float) -> tuple[Instance, ...]:
        """Removes the instances whose lease has expired, and returns them.

        Call it several times a second. A longer gap between calls does not shorten any lease.
        """
        gap_seconds = now - self._swept_at
        self._swept_at = now
        if gap_seconds > MAX_SWEEP_GAP_SECONDS:
            for lease in self._leases.values():
                latest = now + self._lease_seconds
                lease.expires_at = min(lease.expires_at + gap_seconds, latest)
        lapsed = {id: lease for id, lease in self._leases.items() if lease.expires_at <= now}
        for lease_id in lapsed:
            self.remove(lease_id)
        return tuple(lease.entry for lease in lapsed.values())

    @property
    def revision(self) -> int:
        return self._revision

    def snapshot(self) -> Snapshot:
        """The present list."""
        entries = sorted(
            (lease.entry for lease in self._leases.values()), key=lambda entry: entry.id
        )
        return Snapshot(self._revision, tuple(entries), self._list_id)
