"""How many calls of one kind a server runs at once, and when a refused one may come back.

A call that finds no room is refused at once, before it is authenticated or read.
The hint says when half of the calls that hold the room will have left, at the pace
at which they have been leaving.

Pure: no I/O; the clock is an argument.
"""

import time
from collections.abc import Callable

from mesh.contract.retry_hints import bounded_hint_seconds
from mesh.errors import Overloaded

SMOOTHING = 0.1
"""The weight of the newest observation."""
UNKNOWN_HINT_SECONDS = 1.0
"""Where none has left yet."""


class Pace:
    """How many seconds pass between two ends of a work that goes on without a pause."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = 0.0
        self._seconds_each = 0.0

    def begin(self) -> None:
        """Work begins, after a pause."""
        self._since = self._clock()

    def end_one(self) -> None:
        """One piece of it ended just now."""
        now = self._clock()
        observed_seconds, self._since = now - self._since, now
        if self._seconds_each:
            observed_seconds = SMOOTHING * observed_seconds + (1 - SMOOTHING) * self._seconds_each
        self._seconds_each = observed_seconds

    def seconds_for(self, count: float) -> float:
        """How long that many take; 0 while nothing is known."""
        return count * self._seconds_each


def hint_seconds(seconds: float) -> float:
    """The hint for that wait, within its bounds; 0 means that nothing is known."""
    if not seconds:
        return UNKNOWN_HINT_SECONDS
    return bounded_hint_seconds(seconds)


class Bulkhead:
    """Counts the calls of one kind on one server."""

    def __init__(
        self,
        max_calls: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_refusal: Callable[[], None] = lambda: None,
    ) -> None:
        self._max_calls = max_calls
        self._on_refusal = on_refusal
        self._pace = Pace(clock)
        self.running_count = 0

    def enter(self) -> None:
        """A call begins; whoever enters must leave. Raises Overloaded."""
        if self.running_count >= self._max_calls:
            self._on_refusal()
            raise Overloaded(
                "This server has as many calls of this kind as it can take; "
                "repeat the call in a moment.",
                retry_after_seconds=hint_seconds(self._pace.seconds_for(self._max_calls / 2)),
            )
        if self.running_count == 0:
            self._pace.begin()
        self.running_count += 1

    def leave(self) -> None:
        """The call ended, however it did."""
        self.running_count -= 1
        self._pace.end_one()
