"""The queue of calls or replies that wait for the next message of a lane.

Pure: no I/O and no event loop.
"""

from typing import Generic, TypeVar

from mesh.lanes.limits import MAX_BATCH_BYTES, MAX_BATCH_CALLS

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """A FIFO queue of items, each removable by the id of its call."""

    def __init__(
        self, *, max_batch_calls: int = MAX_BATCH_CALLS, max_batch_bytes: int = MAX_BATCH_BYTES
    ) -> None:
        self._max_batch_calls = max_batch_calls
        self._max_batch_bytes = max_batch_bytes
        self._items: dict[int, tuple[Item, int]] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, call_id: int, item: Item, size_bytes: int) -> None:
        """Appends an item. The caller enforces the bound on their number."""
        self._items[call_id] = item, size_bytes
        self.size_bytes += size_bytes

    def drop(self, call_id: int) -> bool:
        """Removes an item. Returns whether it was still queued."""
        dropped = self._items.pop(call_id, None)
        if dropped is None:
            return False
        self.size_bytes -= dropped[1]
        return True

    def take(self) -> list[Item]:
        """Removes and returns the items of the next message: all that are queued, within the
        bounds of a batch. An item that exceeds the bounds is returned alone."""
        if len(self._items) <= self._max_batch_calls and self.size_bytes <= self._max_batch_bytes:
            whole = [item for item, _ in self._items.values()]
            self._items.clear()
            self.size_bytes = 0
            return whole
        taken: dict[int, Item] = {}
        taken_bytes = 0
        for call_id, (item, size_bytes) in self._items.items():
            if taken and (
                len(taken) == self._max_batch_calls
                or taken_bytes + size_bytes > self._max_batch_bytes
            ):
                break
            taken[call_id] = item
            taken_bytes += size_bytes
        if len(taken) == len(self._items):
            self._items.clear()
        else:
            for call_id in taken:
                del self._items[call_id]
        self.size_bytes -= taken_bytes
        return list(taken.values())
