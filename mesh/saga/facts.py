"""The facts of sagas that this process drives. A fact never changes once it is stored, so that a
later step need not read it again."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

MAX_COUNT = 1024

Fact = TypeVar("Fact")


class Facts(Generic[Fact]):
    """Facts by saga id; the oldest ones beyond MAX_COUNT are forgotten."""

    def __init__(
        self, read: Callable[[str], Awaitable[Fact]], *, max_count: int = MAX_COUNT
    ) -> None:
        """`read` returns what is stored for a saga. It must be a fact of which no field changes."""
        self._read = read
        self._max_count = max_count
        self._known: dict[str, Fact] = {}

    async def of(self, saga_id: str) -> Fact:
        """The fact of that saga. Raises what `read` raises."""
        fact = self._known.get(saga_id)
        if fact is None:
            fact = await self._read(saga_id)
            self.keep(saga_id, fact)
        return fact

    def keep(self, saga_id: str, fact: Fact) -> None:
        """Remembers a fact that is stored and committed."""
        self._known[saga_id] = fact
        while len(self._known) > self._max_count:
            del self._known[next(iter(self._known))]
