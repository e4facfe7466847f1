"""Bulkheads: bounds on the concurrent calls of one kind, with a retry hint for refused calls.

A call above the bound is refused at once, before it is authenticated or decoded. The hint
estimates, from the recent rate of completions, when half of the running calls will have ended.

Pure: no I/O; the clock is an argument.
"""

import time
from collections.abc import Callable

from mesh.contract.retry_hints import bounded_hint_seconds
from mesh.errors import Overloaded

SMOOTHING = 0.1
"""The weight of the newest observation."""
UNKNOWN_HINT_SECONDS = 1.0
"""The hint before any call has ended."""


class Pace:
    """The average interval, in seconds, between completions of continuous work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = 0.0
        self._seconds_each = 0.0

    def begin(self) -> None:
        """Work starts after an idle time."""
        self._since = self._clock()

    def end_one(self) -> None:
        """One piece of work has ended."""
        now = self._clock()
        observed_seconds, self._since = now - self._since, now
        if self._seconds_each:
            observed_seconds = SMOOTHING * observed_seconds + (1 - SMOOTHING) * self._seconds_each
        self._seconds_each = observed_seconds

    def seconds_for(self, count: float) -> float:
        """The estimated time for `count` completions; 0 before the first completion."""
        return count * self._seconds_each


def hint_seconds(seconds: float) -> float:
    """The retry hint for an estimated wait, within its bounds; 0 means unknown."""
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
        """Begins a call; pair it with `leave`. Raises Overloaded."""
        if self.running_count >= self._max_calls:
            self._on_refusal()
            raise Overloaded(
                "This server is overloaded with calls of this kind; repeat the call in a moment.",
                retry_after_seconds=hint_seconds(self._pace.seconds_for(self._max_calls / 2)),
            )
        if self.running_count == 0:
            self._pace.begin()
        self.running_count += 1

    def leave(self) -> None:
        """Ends a call, successful or not."""
        self.running_count -= 1
        self._pace.end_one()
