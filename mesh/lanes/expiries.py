"""When calls expire: one timer of the event loop for all calls of a lane.

Guarantees: `expire` is called for each call that is still under way when its time comes, and not
earlier. Calls that end before, which nearly all do, cost no timer of their own: their times are
forgotten together when the timer runs or when most of the times kept are theirs. So at most twice
as many times as calls under way are kept, and SPARE_COUNT more, whenever one is added.

A timer for each call would cost six times as much. For one event loop.
"""

import asyncio
from collections.abc import Callable, Container, Sized
from heapq import heapify, heappop, heappush
from typing import Protocol

SPARE_COUNT = 4096


class Ids(Container[int], Sized, Protocol):
    """Ids of calls, such as the keys of a dictionary."""


class Expiries:
    """The times at which the calls of one lane expire."""

    def __init__(
        self, under_way: Ids, expire: Callable[[int], None], clock: Callable[[], float]
    ) -> None:
        """`under_way` has the ids of the calls that have not ended; `expire` gets an id. `clock`
        is monotonic, in seconds. Needs a running loop."""
        self._under_way = under_way
        self._expire = expire
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._times: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        """How many times are kept."""
        return len(self._times)

    def add(self, call_id: int, at: float) -> None:
        """The call expires at that time of the clock."""
        heappush(self._times, (at, call_id))
        if len(self._times) > 2 * len(self._under_way) + SPARE_COUNT:
            self._forget_ended()
        if self._timer is None or at < self._timer_at:
            self._set_timer(at)

    def close(self) -> None:
        """Stops the timer. Idempotent."""
        self._times.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget_ended(self) -> None:
        self._times = [each for each in self._times if each[1] in self._under_way]
        heapify(self._times)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        # uvloop's timers may run a millisecond early, and are then set anew.
        self._timer = self._loop.call_later(max(0.001, at - self._clock()), self._run)

    def _run(self) -> None:
        self._timer = None
        if len(self._times) > 2 * len(self._under_way):
            self._forget_ended()
        now = self._clock()
        while self._times:
            at, call_id = self._times[0]
            is_under_way = call_id in self._under_way
            if is_under_way and at > now:
                self._set_timer(at)
                break
            heappop(self._times)
            if is_under_way:
                self._expire(call_id)
