"""What one watcher has been told, by whichever registry it asked. Pure."""

from mesh.contract.instances import Instance
from registry.domain.leases import Snapshot


class Told:
    """Decides what a watcher of one service, or of all, is told of each snapshot.

    A watcher that comes from another registry has seen a revision. It is told nothing until
    this registry knows a later one, so that it never goes back to an older list.
    """

    def __init__(self, service: str, list_id: str, revision: int) -> None:
        """`service` is empty for all; the others are the last list that was seen, or empty."""
        self._service = service
        self._list_id = list_id
        self.revision = revision
        self._entries: tuple[Instance, ...] | None = None

    def news(self, whole: Snapshot) -> Snapshot | None:
        """What to tell now that the list is this; None when the watcher has it already."""
        is_same_list = whole.list_id == self._list_id
        if is_same_list and whole.revision <= self.revision:
            return None
        chosen = whole.of_service(self._service)
        self._list_id, self.revision = whole.list_id, whole.revision
        if is_same_list and chosen.entries == self._entries:
            return None
        self._entries = chosen.entries
        return chosen
