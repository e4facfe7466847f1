"""A readable, slow model of mesh.calling.balancer and mesh.calling.breaker.

It shares no code with them. A breaker here keeps the whole history of its instance, and computes
every answer from that history.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

FAILURES = 3
COOL_DOWN_SECONDS = 1.0
COOL_DOWN_BOUND_SECONDS = 5.0
SILENCE_SECONDS = 0.5
ATTEMPTS = 3


class State(Enum):
    CLOSED = auto()
    OPEN = auto()
    HALF_OPEN = auto()


class End(Enum):
    ANSWER = auto()
    BREAK = auto()
    TIMEOUT = auto()
    NOTHING = auto()


@dataclass(eq=False)
class TriedAttempt:
    """One attempt, with its place in the order of all events."""

    id: str
    call: "TriedCall"
    number: int
    moment: int
    began_at: float
    is_probe: bool
    is_forced: bool
    breaker: "ModelBreaker"


@dataclass(eq=False)
class TriedCall:
    """The history of a call: its attempts on each instance, and the instances that it gave up."""

    attempts: dict[str, int] = field(default_factory=dict)
    done_with: set[str] = field(default_factory=set)
    last: str | None = None


class ModelBreaker:
    """The breaker of one instance, according to the table of mesh.calling.breaker."""

    def __init__(self) -> None:
        self.moment = 0
        self.is_tripped = False
        self.tripped_at = 0.0
        self.cool_down = COOL_DOWN_SECONDS
        self.queued_at = 0.0
        self.count = 0
        self.last_answer = -1
        self.last_failure = -1
        self.probe: TriedAttempt | None = None

    def state(self, now: float) -> State:
        if not self.is_tripped:
            return State.CLOSED
        return State.HALF_OPEN if now >= self.tripped_at + self.cool_down else State.OPEN

    def admits(self, now: float) -> bool:
        state = self.state(now)
        return state is State.CLOSED or (state is State.HALF_OPEN and self.probe is None)

    def begin(self, id: str, call: TriedCall, now: float) -> TriedAttempt:
        self.moment += 1
        state = self.state(now)
        attempt = TriedAttempt(
            id,
            call,
            call.attempts[id],
            self.moment,
            now,
            state is not State.CLOSED,
            state is State.OPEN,
            self,
        )
        if attempt.is_probe:
            assert self.probe is None, "one probe at a time"
            self.probe = attempt
        return attempt

    def end(self, attempt: TriedAttempt, end: End, now: float) -> None:
        self.moment += 1
        was_probe = self.probe is attempt
        if was_probe:
            self.probe = None
        if end is End.ANSWER:
            self._close()
        elif was_probe and attempt.is_forced:
            self.queued_at = now
        elif was_probe:
            if end is End.BREAK or self._is_silence(attempt, end, now):
                self._trip(now, min(2 * self.cool_down, COOL_DOWN_BOUND_SECONDS))
        elif not self.is_tripped:
            self._count(attempt, end, now)

    def _close(self) -> None:
        self.last_answer = self.moment
        self.is_tripped, self.count, self.probe = False, 0, None
        self.cool_down = COOL_DOWN_SECONDS

    def _count(self, attempt: TriedAttempt, end: End, now: float) -> None:
        is_incident = end is End.BREAK and attempt.moment > self.last_failure
        if is_incident or self._is_silence(attempt, end, now):
            self.last_failure = self.moment
            self.count += 1
            if self.count == FAILURES:
                self._trip(now, self.cool_down)

    def _trip(self, now: float, cool_down: float) -> None:
        self.last_failure = self.moment
        self.is_tripped, self.count = True, 0
        self.tripped_at = self.queued_at = now
        self.cool_down = cool_down

    def _is_silence(self, attempt: TriedAttempt, end: End, now: float) -> bool:
        lasted = now - attempt.began_at
        heard_nothing = self.last_answer < attempt.moment
        return end is End.TIMEOUT and lasted >= SILENCE_SECONDS and heard_nothing


class ModelBalancer:
    """All instances of a service, according to the table of mesh.calling.balancer.

    The order among several ready instances is not modelled: `allowed` returns all of them.
    """

    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}
        self.is_serving: dict[str, bool] = {}
        self.breakers: dict[str, ModelBreaker] = {}

    def update(self, instances: Mapping[str, tuple[str, bool]]) -> None:
        """The instances by id: each has an address, and whether it serves."""
        self.breakers = {
            id: self.breakers[id] if self.addresses.get(id) == address else ModelBreaker()
            for id, (address, _) in instances.items()
        }
        self.addresses = {id: address for id, (address, _) in instances.items()}
        self.is_serving = {id: serves for id, (_, serves) in instances.items()}

    def allowed(self, call: TriedCall, now: float) -> set[str]:
        """The instances that the table allows; empty when none is left."""
        ready = {id for id in self.breakers if self._is_ready(id, call, now)}
        again = call.last
        if (
            again in ready
            and self.is_serving[again]
            and self.breakers[again].state(now) is State.CLOSED
        ):
            return {again}
        for serves in (True, False):
            some = {id for id in ready if self.is_serving[id] is serves}
            if some:
                return some
        out = [
            id
            for id, breaker in self.breakers.items()
            if breaker.is_tripped and breaker.probe is None and id not in call.done_with
        ]
        longest = min((self.breakers[id].queued_at for id in out), default=None)
        return {id for id in out if self.breakers[id].queued_at == longest}

    def others_are_ready(self, id: str, call: TriedCall, now: float) -> bool:
        return any(each != id and self._is_ready(each, call, now) for each in self.breakers)

    def begin(self, id: str, call: TriedCall, now: float) -> TriedAttempt:
        call.attempts[id] = call.attempts.get(id, 0) + 1
        call.last = id
        return self.breakers[id].begin(id, call, now)

    def end(self, attempt: TriedAttempt, end: End, now: float) -> None:
        """After a broken attempt the call may try the instance again, except after the third
        one, or if the instance was already out."""
        was_out = attempt.breaker.is_tripped
        if end is not End.BREAK or attempt.number == ATTEMPTS or was_out:
            attempt.call.done_with.add(attempt.id)
        attempt.breaker.end(attempt, end, now)

    def _is_ready(self, id: str, call: TriedCall, now: float) -> bool:
        return id not in call.done_with and self.breakers[id].admits(now)
