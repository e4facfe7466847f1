"""What stays on the list of instances while registries come and go. Pure."""

from collections.abc import Iterable

from mesh.contract.instances import Instance


class InstanceMemory:
    """Merges the snapshots of one registry after another.

    From `reconnect` until `settle`, an instance that the new registry has not
    listed yet stays as it was known; the registry may have been restarted, and
    the instance on its way back to it.

    Where the list loses the last serving instance of a service, and that one had not said
    that it leaves, it stays until `settle` too: nobody else could be called, and far more
    likely than the death of all is that nobody could renew a lease.
    """

    def __init__(self) -> None:
        self._unconfirmed: dict[str, Instance] = {}
        self._snapshot: dict[str, Instance] = {}

    def reconnect(self) -> None:
        """A new list begins: nothing that is known has been confirmed by it."""
        self._unconfirmed = self.merged()
        self._snapshot = {}

    def take(self, snapshot: Iterable[Instance]) -> bool:
        """The registry lists these now. Returns whether others stay, until it has settled."""
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
        """Whoever has not come back by now is gone."""
        self._unconfirmed = {}

    def merged(self) -> dict[str, Instance]:
        """The instances by id."""
        return {**self._unconfirmed, **self._snapshot}
