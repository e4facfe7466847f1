"""Merges the lists of registries that are restarted or replaced. Pure."""

from collections.abc import Iterable

from mesh.contract.instances import Instance


class InstanceMemory:
    """Merges the snapshots of one registry after another.

    From `reconnect` until `settle`, an instance that the new registry has not listed yet is
    kept as last known: the registry may have been restarted, and the instance may not have
    registered again yet.

    If a list lacks the last serving instance of a service, and that instance had not announced
    that it leaves, it is kept until `settle` too. Without it no call would be possible, and a
    failure to renew leases is far more likely than the death of all instances.
    """

    def __init__(self) -> None:
        self._unconfirmed: dict[str, Instance] = {}
        self._snapshot: dict[str, Instance] = {}

    def reconnect(self) -> None:
        """A new list begins; it has not confirmed any known instance yet."""
        self._unconfirmed = self.merged()
        self._snapshot = {}

    def take(self, snapshot: Iterable[Instance]) -> bool:
        """Applies the registry's list. Returns whether a missing instance is kept until
        `settle`."""
        before = self.merged()
        self._snapshot = {instance.id: instance for instance in snapshot}
        for id in self._snapshot:
            self._unconfirmed.pop(id, None)
        after = self.merged()
        served = {each.service for each in after.values() if each.is_serving}
        kept = {
            id: each
            for id, each in before.items()
            if each.is_serving and each.service not in served and id not in after
        }
        self._unconfirmed.update(kept)
        return bool(kept)

    def settle(self) -> None:
        """Drops the instances that have not been listed again."""
        self._unconfirmed = {}

    def merged(self) -> dict[str, Instance]:
        """The listed and the kept instances, by id."""
        return {**self._unconfirmed, **self._snapshot}
