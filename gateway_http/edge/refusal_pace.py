"""Holds back the refusals of a caller who is refused again and again.

A refusal costs the gateway nearly as much as a call. Who sends the next request as soon as the last
one was refused would occupy it with refusals alone. So a caller gets FREE_REFUSALS at once, and
PER_SECOND after that; a further one is held back until its turn, but for at most
LONGEST_PAUSE_SECONDS. A connection that waits for its refusal sends nothing, and costs nothing.

Who keeps to the limits, or waits for Retry-After, never notices.

Pure: the clock is an argument.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from gateway_http.edge.callers import Caller
from mesh.addresses import networks_of

FREE_REFUSALS = 20
PER_SECOND = 20.0
LONGEST_PAUSE_SECONDS = 2.0
MAX_CALLERS = 16_384
"""How many callers are remembered. The one who was refused least recently is forgotten."""
_FREE_SECONDS = FREE_REFUSALS / PER_SECOND


class RefusalPace:
    """When each caller gets the next refusal: a leaky bucket for each."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, max_callers: int = MAX_CALLERS
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._max_callers = max_callers
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def next_pause_seconds(self, caller: Caller) -> float:
        """How long one more refusal is held back; counts it. The networks of an IPv6 customer are
        one caller."""
        key = caller.player or networks_of(caller.address)[-1]
        now = self._clock()
        level = max(self._full_at.pop(key, now), now)
        pause_seconds = level - now - _FREE_SECONDS + 1 / PER_SECOND
        pause_seconds = min(max(pause_seconds, 0.0), LONGEST_PAUSE_SECONDS)
        longest = now + _FREE_SECONDS + LONGEST_PAUSE_SECONDS
        self._full_at[key] = min(level + 1 / PER_SECOND, longest)
        if len(self._full_at) > self._max_callers:
            self._full_at.popitem(last=False)
        return pause_seconds
