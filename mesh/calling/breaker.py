"""A circuit breaker for one instance: closed, open, or half-open.

    state      event                                        becomes
    ---------  -------------------------------------------  ------------------------------
    closed     an answer                                    closed, count 0
    closed     a break, of an attempt that began after      count + 1; at the limit: open
               the last failure was counted
    closed     any other break                              closed, nothing changes
    closed     a silent timeout                             count + 1; at the limit: open
    open       the cool-down passes                         half-open
    open       a forced probe begins                        open, probe out
    open       a forced probe ends without an answer        open, same cool-down, the last
                                                            in turn for a forced probe
    half-open  an attempt begins: the probe                 half-open, probe out
    half-open  a break or silent timeout of the probe       open, cool-down doubled up to
                                                            its bound
    half-open  the probe ends otherwise, without an answer  half-open, no probe out
    open,      an answer, to a probe or to an attempt that  closed, count 0, the first
    half-open  began before                                 cool-down again
    open,      a break or silent timeout of such an attempt nothing changes
    half-open

- An *answer* is any reply of the instance, including an error. A bad request
  therefore cannot take an instance out.
- A *break* is UNAVAILABLE or a lost connection. Many calls lose one connection
  together: that is one incident and counts once.
- A *silent timeout* is an attempt that timed out after at least `silence_seconds`
  during which the instance answered no call at all. A slow call does not count if
  the instance answers others, and neither does a timeout that was too short. On a
  lane, `mesh.lanes.liveness.Liveness` must also report the server silent, after
  its own SILENCE_SECONDS; otherwise the timeout arrives here as an answer.
- A *forced* probe begins before the cool-down has passed, because no better
  instance is left.
- There is one probe at a time.

Pure: no I/O; time comes from the attempts.
"""

from dataclasses import dataclass
from enum import Enum


class AttemptResult(Enum):
    """How an attempt on an instance ended."""

    ANSWERED = "answered"
    BROKE = "broke"
    TIMED_OUT = "timed out"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When a breaker opens, and for how long."""

    failures: int = 3
    cool_down_seconds: float = 1.0
    cool_down_bound_seconds: float = 5.0
    silence_seconds: float = 0.5


class Breaker:
    """The breaker of one instance."""

    __slots__ = (
        "_answered_serial",
        "_cool_down_seconds",
        "_counted_serial",
        "_failures",
        "_limits",
        "_probe_serial",
        "_retry_at",
        "_serial",
        "is_tripped",
        "under_way_count",
        "waiting_since",
    )

    def __init__(self, limits: BreakerLimits) -> None:
        self._limits = limits
        self._cool_down_seconds = limits.cool_down_seconds
        self._failures = 0
        self._retry_at = 0.0
        self._serial = 0
        self._probe_serial: int | None = None
        # The last attempt that had begun when a failure was counted, and when
        # an answer came: later ones have a greater serial.
        self._counted_serial = 0
        self._answered_serial = 0
        self.is_tripped = False
        """Whether it is open or half-open."""
        self.under_way_count = 0
        """How many attempts have begun and not ended."""
        self.waiting_since = 0.0
        """When it opened or was last probed by force: orders forced probes."""

    @property
    def probe_is_out(self) -> bool:
        return self._probe_serial is not None

    def is_probe(self, serial: int) -> bool:
        """Whether the attempt with that serial is the current probe."""
        return serial == self._probe_serial

    def admits(self, now: float) -> bool:
        """Whether an attempt may begin without force: closed, or half-open without a probe."""
        return not self.is_tripped or (now >= self._retry_at and not self.probe_is_out)

    def seconds_to_half_open(self, now: float) -> float:
        """Seconds until it is half-open; 0 if it is not open."""
        return max(0.0, self._retry_at - now) if self.is_tripped else 0.0

    def begin(self) -> int:
        """Begins an attempt, as a probe unless closed. Returns its serial number."""
        self._serial += 1
        self.under_way_count += 1
        if self.is_tripped:
            assert not self.probe_is_out, "one probe at a time"
            self._probe_serial = self._serial
        return self._serial

    def end(self, serial: int, result: AttemptResult, began_at: float, now: float) -> None:
        """Ends the attempt with that serial, which began at `began_at` (monotonic seconds)."""
        self.under_way_count -= 1
        is_probe = self.is_probe(serial)
        is_forced = is_probe and began_at < self._retry_at
        if is_probe:
            self._probe_serial = None
        if result is AttemptResult.ANSWERED:
            self._close()
        elif is_forced:
            # A forced probe came early, so its failure must not lengthen the cool-down. It
            # only goes to the end of the order of forced probes.
            self.waiting_since = now
        elif is_probe == self.is_tripped and self._is_failure(serial, result, now - began_at):
            self._counted_serial = self._serial
            self._fail(now)

    def _is_failure(self, serial: int, result: AttemptResult, lasted_seconds: float) -> bool:
        if result is AttemptResult.BROKE:
            # Attempts that ran when the last failure was counted lost the same connection.
            return self.is_tripped or serial > self._counted_serial
        if result is AttemptResult.TIMED_OUT:
            # An answer to any attempt while this one ran shows that the instance is alive.
            had_no_answer = serial > self._answered_serial
            return had_no_answer and lasted_seconds >= self._limits.silence_seconds
        return False

    def _close(self) -> None:
        self._answered_serial = self._serial
        self._failures = 0
        self._probe_serial = None
        self._cool_down_seconds = self._limits.cool_down_seconds
        self.is_tripped = False

    def _fail(self, now: float) -> None:
        bound = self._limits.cool_down_bound_seconds
        if self.is_tripped:
            self._cool_down_seconds = min(2 * self._cool_down_seconds, bound)
        else:
            self._failures += 1
            if self._failures < self._limits.failures:
                return
        self._failures = 0
        self.is_tripped = True
        self._retry_at = now + self._cool_down_seconds
        self.waiting_since = now
