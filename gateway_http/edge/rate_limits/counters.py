"""Counts requests of many keys against one policy, by the sliding window counter.

Time is cut into windows of the policy's length. What counts at a moment is all of the
current window and of the one before it that part which the last `window_seconds` still
cover, as if its requests had come evenly:

    used = current + previous * (1 - the fraction of the current window that has passed)

A request is admitted while used + 1 <= quota; one that is refused counts nothing. So
no window ever has more than the quota, and who stays a little below quota / window is
never refused.

Counts of windows can be added up, which is why this algorithm was chosen: several
gateways count by themselves and tell one another, by way of `outgoing` and `learn`, how
many they admitted. A key is told of only once it has an eighth of its quota in a window
here (`SHARED_FROM`): nearly none has, and those below it cannot exceed the quota together
unless there are more than eight gateways.

Memory is bounded: the key that was not seen for longest is forgotten. Pure: the clock is
given, and must be nearly the same for all gateways (seconds since 1970).
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from gateway_http.edge.rate_limits.policy import Policy

MAX_KEYS = 65_536
SHARED_FROM = 1 / 8


class Standing(NamedTuple):
    """What a key has left after a request: `remaining` requests for the next
    `seconds`; when the request was refused, how long until one would be admitted."""

    policy: Policy
    admitted: bool
    remaining: int
    seconds: float

    @property
    def whole_seconds(self) -> int:
        """At least 1, for the fields of HTTP have no fractions."""
        return max(1, math.ceil(self.seconds))

    @property
    def header(self) -> str:
        """Its item of the field RateLimit."""
        return f'"{self.policy.name}";r={self.remaining};t={self.whole_seconds}'


class Delta(NamedTuple):
    """What one window of a key had here since the last time; `is_first` when there may
    have been none."""

    key: str
    window: int
    requests: int
    is_first: bool


class _Counter:
    """The windows of one key: what came here, and what the others had at last hearing."""

    __slots__ = ("others", "own", "previous", "sent", "was_sent", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.previous = 0
        self._begin()

    def _begin(self) -> None:
        self.own = self.others = self.sent = 0
        self.was_sent = False

    @property
    def current(self) -> int:
        return self.own + self.others

    def go_on_to(self, window: int) -> None:
        """A clock that was set back changes nothing until it has caught up."""
        self.previous = self.current if window == self.window + 1 else 0
        self.window = window
        self._begin()


class Counters:
    """All keys of one policy. For one event loop."""

    def __init__(
        self, policy: Policy, clock: Callable[[], float], *, max_keys: int = MAX_KEYS
    ) -> None:
        """`clock` gives seconds since 1970."""
        self.policy = policy
        self._clock = clock
        self._max_keys = max_keys
        self._shared_from = max(1, math.ceil(policy.quota * SHARED_FROM))
        self._counters: OrderedDict[str, _Counter] = OrderedDict()
        self._changed: OrderedDict[str, None] = OrderedDict()
        self._late: dict[tuple[str, int], int] = {}

    def __len__(self) -> int:
        return len(self._counters)

    def take(self, key: str) -> Standing:
        """One request of a key: counted when it is admitted."""
        policy = self.policy
        at = self._clock() / policy.window_seconds
        counter = self._at(key, int(at))
        left = min(1.0, max(0.0, counter.window + 1 - at))
        room = policy.quota - counter.current - counter.previous * left
        if room < 1:
            return Standing(policy, False, 0, self._refused_seconds(counter, left))
        counter.own += 1
        if counter.was_sent or counter.own >= self._shared_from:
            self._changed[key] = None
        return Standing(policy, True, int(room) - 1, left * policy.window_seconds)

    def outgoing(self, most: int) -> list[Delta]:
        """What was not told before, at most `most` of it; the rest waits its turn."""
        deltas: list[Delta] = []
        while self._late and len(deltas) < most:
            (key, window), count = self._late.popitem()
            deltas.append(Delta(key, window, count, True))
        while self._changed and len(deltas) < most:
            key, _ = self._changed.popitem(last=False)
            counter = self._counters[key]
            deltas.append(
                Delta(key, counter.window, counter.own - counter.sent, not counter.was_sent)
            )
            counter.sent, counter.was_sent = counter.own, True
        return deltas

    def forget_outgoing(self) -> None:
        """Nobody is there to be told."""
        self._changed.clear()
        self._late.clear()

    def learn(self, key: str, window: int, total: int, previous: int) -> None:
        """What all gateways together had in a window, everything that was sent from here
        included, and in the one before it (0 when that was not asked)."""
        counter = self._counters.get(key)
        if counter is None:
            return
        if counter.window == window:
            counter.others = max(0, total - counter.sent)
            counter.previous = max(counter.previous, previous)
        elif counter.window == window + 1:
            counter.previous = max(counter.previous, total)

    def _at(self, key: str, window: int) -> _Counter:
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = _Counter(window)
            if len(self._counters) > self._max_keys:
                oldest, _ = self._counters.popitem(last=False)
                self._changed.pop(oldest, None)
            return counter
        self._counters.move_to_end(key)
        if window > counter.window:
            if key in self._changed:
                del self._changed[key]
                if len(self._late) < self._max_keys:
                    self._late[key, counter.window] = counter.own - counter.sent
            counter.go_on_to(window)
        return counter

    def _refused_seconds(self, counter: _Counter, left: float) -> float:
        """Until a request would be admitted, if no other came meanwhile."""
        spare = self.policy.quota - 1 - counter.current
        if spare >= 0:
            # What counts of the window before has to shrink to the spare.
            windows = left - spare / counter.previous
        else:
            windows = left + 1 - (self.policy.quota - 1) / counter.current
        return windows * self.policy.window_seconds
