"""The places of the sagas that a process drives. Pure.

Invariant: a saga that is due never waits because sagas that calls have just begun are under way,
for the two have places of their own. No owner has more than `max_of_owner` places of both kinds.
`split` and `free_for_due` say what is likely to find a place: others may take it meanwhile, while
a saga is begun or leased. `enter` alone decides.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from mesh.saga.definition import NewSaga, Saga


class Places:
    """Counts the sagas that are driven here."""

    def __init__(self, *, max_due: int, max_begun: int, max_of_owner: int) -> None:
        self._max_of_owner = max_of_owner
        self._max_due = max_due
        self._max_begun = max_begun
        self._due_count = 0
        self._begun_count = 0
        self._of_owners: Counter[str] = Counter()

    @property
    def free_for_due(self) -> int:
        """How many due sagas may be taken."""
        return max(0, self._max_due - self._due_count)

    @property
    def is_an_owner_full(self) -> bool:
        """Whether sagas of an owner may be waiting for a place of that owner."""
        return any(count >= self._max_of_owner for count in self._of_owners.values())

    def driven(self) -> Mapping[str, int]:
        """How many sagas each owner has here; those without any are missing."""
        return self._of_owners

    def split(self, new: Sequence[NewSaga]) -> tuple[list[NewSaga], list[NewSaga]]:
        """The sagas to drive as soon as they have begun, and the others, which wait for their
        turn."""
        counts = Counter(self._of_owners)
        placed: list[NewSaga] = []
        waiting: list[NewSaga] = []
        for saga in new:
            is_full = self._begun_count + len(placed) >= self._max_begun
            if is_full or counts[saga.owner] >= self._max_of_owner:
                waiting.append(saga)
            else:
                counts[saga.owner] += 1
                placed.append(saga)
        return placed, waiting

    def enter(self, saga: Saga, *, is_begun: bool) -> bool:
        """Takes a place if there is one, and returns whether it did; then pair it with `leave`.
        `is_begun`: a call has just begun the saga."""
        if is_begun:
            is_full = self._begun_count >= self._max_begun
        else:
            is_full = self._due_count >= self._max_due
        if is_full or self._of_owners[saga.owner] >= self._max_of_owner:
            return False
        self._of_owners[saga.owner] += 1
        if is_begun:
            self._begun_count += 1
        else:
            self._due_count += 1
        return True

    def leave(self, saga: Saga, *, is_begun: bool) -> None:
        """Frees a place."""
        self._of_owners[saga.owner] -= 1
        if not self._of_owners[saga.owner]:
            del self._of_owners[saga.owner]
        if is_begun:
            self._begun_count -= 1
        else:
            self._due_count -= 1
