"""Counts requests of many keys against one policy, by the sliding window counter.

Time is cut into windows of the policy's length. The count at a moment is the whole current
window, and the part of the previous window that the last `window_seconds` still cover, as if
its requests were spread evenly:

    used = current + previous * (1 - the fraction of the current window that has passed)

A request is admitted while used + 1 <= quota; a refused one is not counted. So no window ever
holds more than the quota, and a client that stays a little below quota / window is never
refused.

This algorithm was chosen because the counts of windows can be added up: each gateway counts by
itself, and `outgoing` and `learn` exchange the counts of admitted requests. A key is shared
only once it has used an eighth of its quota in a window here (`SHARED_FROM`). Few keys have,
and keys below that cannot exceed the quota together unless there are more than eight gateways.

Memory is bounded: the least recently seen key is dropped. Pure: the clock is an argument
(seconds since 1970), and must be nearly the same for all gateways.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from gateway_http.edge.rate_limits.policy import Policy

MAX_KEYS = 65_536
SHARED_FROM = 1 / 8


class Standing(NamedTuple):
    """A key's state after a request: `remaining` requests for the next `seconds`. If the
    request was refused, `seconds` is the time until one would be admitted."""

    policy: Policy
    admitted: bool
    remaining: int
    seconds: float

    @property
    def whole_seconds(self) -> int:
        """Rounded up, at least 1: header fields have no fractions."""
        return max(1, math.ceil(self.seconds))

    @property
    def header(self) -> str:
        """The item for the RateLimit header."""
        return f'"{self.policy.name}";r={self.remaining};t={self.whole_seconds}'


class Delta(NamedTuple):
    """Requests admitted here in one window of a key since the last exchange. `is_first` means
    that the window may not have been exchanged before."""

    key: str
    window: int
    requests: int
    is_first: bool


class _Counter:
    """The windows of one key: local counts, and the other gateways' counts as last received."""

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
        """Starts the given window, which is later than the present one."""
        self.previous = self.current if window == self.window + 1 else 0
        self.window = window
        self._begin()


class Counters:
    """All keys of one policy. For one event loop."""

    def __init__(
        self, policy: Policy, clock: Callable[[], float], *, max_keys: int = MAX_KEYS
    ) -> None:
        """`clock` returns seconds since 1970."""
        self.policy = policy
        self._clock = clock
        self._max_keys = max_keys
        self._shared_from = max(1, math.ceil(policy.quota * SHARED_FROM))
        self._counters: OrderedDict[str, _Counter] = OrderedDict()
        self._changed: OrderedDict[str, None] = OrderedDict()
        self._late: dict[tuple[str, int], int] = {}
        self._on_outgoing: Callable[[], None] = lambda: None

    def on_outgoing(self, notify: Callable[[], None]) -> None:
        """Calls `notify` from now on whenever there is a delta to send, maybe more than once."""
        self._on_outgoing = notify
        if self.has_outgoing:
            notify()

    @property
    def has_outgoing(self) -> bool:
        """Whether there is a delta to send."""
        return bool(self._changed or self._late)

    def __len__(self) -> int:
        return len(self._counters)

    @property
    def parts(self) -> "tuple[Counters, ...]":
        """Itself, as `NetworkCounters.parts` has several."""
        return (self,)

    def take(self, key: str) -> Standing:
        """Decides on one request of a key, and counts it if it is admitted."""
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
            self._on_outgoing()
        return Standing(policy, True, int(room) - 1, left * policy.window_seconds)

    def outgoing(self, most: int) -> list[Delta]:
        """Up to `most` deltas that were not sent yet; the others remain for the next call."""
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
        """Drops the unsent deltas, because the cache is not available."""
        self._changed.clear()
        self._late.clear()

    def learn(self, key: str, window: int, total: int, previous: int) -> None:
        """Stores the total of all gateways in a window, which includes everything sent from
        here, and in the previous window (0 if it was not requested)."""
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
        """Seconds until a request would be admitted, if no other request arrives first."""
        spare = self.policy.quota - 1 - counter.current
        if spare >= 0:
            # The share of the previous window must shrink to the spare quota.
            windows = left - spare / counter.previous
        else:
            windows = left + 1 - (self.policy.quota - 1) / counter.current
        return windows * self.policy.window_seconds
