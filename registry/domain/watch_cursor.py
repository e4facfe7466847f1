"""The position of one watcher in the list, also across registries. Pure."""

from mesh.contract.instances import Instance
from registry.domain.leases import Snapshot


class WatchCursor:
    """Decides which snapshots to send to a watcher of one service, or of all.

    A watcher that comes from another registry sends its last revision. It receives nothing until
    this registry has a later one, so that a watcher never goes back to an older list.
    """

    def __init__(self, service: str, list_id: str, revision: int) -> None:
        """`service` is empty for all. `list_id` and `revision` are those of the watcher's last
        list; empty and 0 for none."""
        self._service = service
        self._list_id = list_id
        self.revision = revision
        self._entries: tuple[Instance, ...] | None = None

    def advance(self, whole: Snapshot) -> Snapshot | None:
        """Moves to this list. Returns the instances to send; None when the watcher has them."""
        is_same_list = whole.list_id == self._list_id
        if is_same_list and whole.revision <= self.revision:
            return None
        chosen = whole.of_service(self._service)
        self._list_id, self.revision = whole.list_id, whole.revision
        if is_same_list and chosen.entries == self._entries:
            return None
        self._entries = chosen.entries
        return chosen
