"""What stays on the list of instances while registries come and go. Pure."""

from collections.abc import Iterable

from mesh.instances import Instance


class InstanceMemory:
    """Merges the snapshots of one registry after another.

    From `reconnect` until `settle`, an instance that the new registry has not
    listed yet stays as it was known; the registry may have been restarted, and
    the instance on its way back to it.

    The last instances of a service that go without having said so are held until
    `release`. A list without them would help nobody, for calls could not but fail; and
    where all leases are lost at once, it is more likely that their keeper erred (docs/adr/0017).
    """

    def __init__(self) -> None:
        self._unconfirmed: dict[str, Instance] = {}
        self._snapshot: dict[str, Instance] = {}
        self._held: dict[str, Instance] = {}

    @property
    def holds_some(self) -> bool:
        """Whether there is something to release."""
        return bool(self._held)

    def reconnect(self) -> None:
        """A new list begins: nothing that is known has been confirmed by it."""
        self._unconfirmed = self.merged()
        self._snapshot, self._held = {}, {}

    def take(self, snapshot: Iterable[Instance]) -> None:
        """The registry lists these now."""
        before = self.merged()
        self._snapshot = {instance.id: instance for instance in snapshot}
        for id in self._snapshot:
            self._unconfirmed.pop(id, None)
        self._held = {}
        served = {each.service for each in self.merged().values() if each.is_serving}
        self._held = {
            id: instance
            for id, instance in before.items()
            if instance.is_serving and instance.service not in served and id not in self._snapshot
        }

    def settle(self) -> None:
        """Whoever has not come back by now is gone."""
        self._unconfirmed = {}

    def release(self) -> None:
        """Whoever is held is gone."""
        self._held = {}

    def merged(self) -> dict[str, Instance]:
        """The instances by id."""
        return {**self._held, **self._unconfirmed, **self._snapshot}
