"""Which instance has calls under way that a further call can share work with.

Calls of a method that its proto declares as batched cost less together, so a caller gathers them
at one instance:

    situation                                              preferred
    -----------------------------------------------------  -------------------------------------
    no batched call is under way                           none: round robin
    calls are under way at an instance, fewer than 128,    that instance; of several, the one
    the oldest for less than half a second                 with the most
    otherwise                                              none: round robin

So a lone caller's calls still go round, an instance that is full leaves the rest to others, and
one that has become slow is not chosen for its slowness. A pure state machine, like
mesh.calling.balancer.
"""

from collections.abc import Iterable

MAX_GATHERED = 128
STALE_SECONDS = 0.5


class Gathering:
    """The batched calls of one caller that are under way, by instance."""

    def __init__(self) -> None:
        self._began_at: dict[str, dict[object, float]] = {}

    def begin(self, id: str, attempt: object, now: float) -> None:
        """An attempt at that instance begins."""
        self._began_at.setdefault(id, {})[attempt] = now

    def end(self, id: str, attempt: object) -> None:
        """It has ended."""
        under_way = self._began_at[id]
        del under_way[attempt]
        if not under_way:
            del self._began_at[id]

    def preferred(self, ids: Iterable[str], now: float) -> str | None:
        """The instance of these to send the next call to, if one is preferred."""
        return max(
            (id for id in ids if self._may_take_more(id, now)),
            key=lambda id: len(self._began_at[id]),
            default=None,
        )

    def _may_take_more(self, id: str, now: float) -> bool:
        under_way = self._began_at.get(id)
        if not under_way or len(under_way) >= MAX_GATHERED:
            return False
        oldest = next(iter(under_way.values()))
        return now - oldest < STALE_SECONDS
