"""Chooses the instance for each attempt of a call: a pure state machine.

    situation                      choice
    -----------------------------  ----------------------------------------------------------
    first attempt of a call        the next of the *ready* instances, round robin
    the same, of a method whose    the ready instance of the last such call while fewer than
    calls are kept together        KEPT_CALLS of all attempts are under way there, else the
                                   next one of which that is true; if there is none, round
                                   robin
    after a break                  the same instance again, up to three attempts in all,
                                   while it is ready and its breaker is closed
    after a timeout, the third     the next ready instance, round robin, on which this call
    break, or a break while the    has not failed yet
    breaker is open
    no ready instance is left      draining instances, by the same rules
    none of these either           a forced probe: among the instances whose breaker is open,
                                   on which this call has not failed and which no other call
                                   is probing, the one that was probed least recently
    no candidate at all            none: the call fails at once

- *Ready*: on the list, SERVING, and admitted by its breaker (closed, or half-open
  with no probe out); see mesh.calling.breaker for what counts as a failure.
- The next call therefore finds a lone instance that was restarted. While all
  instances are out, one call at a time probes each; all other calls fail at once.
- When an instance leaves the list, its breaker is dropped. An instance that comes
  back, or changes its address, starts closed. A change of state keeps the breaker.
- A call makes at most three attempts on each instance. It ends after at most three
  times as many attempts as there are instances.

No I/O and no event loop; the clock is an argument. Not thread-safe.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.calling.breaker import AttemptResult, Breaker, BreakerLimits
from mesh.contract.instances import Instance

ATTEMPTS_ON_AN_INSTANCE = 3
KEPT_CALLS = 64
"""Enough for calls to share work on an instance, and few enough that all instances work under
load."""


@dataclass(slots=True, eq=False)
class Tries:
    """What one call has tried so far. The caller creates it; the balancer updates it.

    `is_kept_together` is that of the method (`mesh.contract.method_config.MethodConfig`).
    """

    is_kept_together: bool = False
    attempt_counts: dict[str, int] = field(default_factory=dict)
    failed_on: set[str] = field(default_factory=set)
    last_id: str | None = None


class Attempt(NamedTuple):
    """One attempt of a call on an instance. It must be reported when it has ended.

    `number` counts this call's attempts on this instance from 1. `is_last` says
    that no other instance is ready now if this one fails.
    """

    instance: Instance
    number: int
    is_last: bool
    tries: Tries
    breaker: Breaker
    serial: int
    began_at: float


@dataclass(slots=True, eq=False)
class _Member:
    instance: Instance
    breaker: Breaker


class Balancer:
    """Spreads the calls to one service over its instances."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        limits: BreakerLimits | None = None,
        first_turn: int = 0,
    ) -> None:
        """`clock` is monotonic, in seconds. Different values of `first_turn` keep callers
        that start together from choosing the same instances."""
        self._clock = clock
        self._limits = limits or BreakerLimits()
        self._turn = first_turn
        self._kept_turn = first_turn + 1
        self._members: dict[str, _Member] = {}
        self._serving: tuple[_Member, ...] = ()
        self._draining: tuple[_Member, ...] = ()

    def update(self, instances: Iterable[Instance]) -> None:
        """Replaces the list of live instances of the service."""
        members: dict[str, _Member] = {}
        for instance in sorted(instances, key=lambda instance: instance.id):
            known = self._members.get(instance.id)
            if known is not None and known.instance.address == instance.address:
                members[instance.id] = _Member(instance, known.breaker)
            else:
                members[instance.id] = _Member(instance, Breaker(self._limits))
        self._members = members
        self._serving = tuple(m for m in members.values() if m.instance.is_serving)
        self._draining = tuple(m for m in members.values() if not m.instance.is_serving)

    def pick(self, tries: Tries) -> Attempt | None:
        """Begins the call's next attempt; None if no instance is left for it.

        Every attempt must be passed to `report`.
        """
        now = self._clock()
        member = (
            self._same_again(tries, now)
            or self._next_in_turn(self._serving, tries, now)
            or self._next_in_turn(self._draining, tries, now)
            or self._longest_tripped(tries)
        )
        return None if member is None else self._begin(member, tries, now)

    def report(self, attempt: Attempt, result: AttemptResult) -> None:
        """Ends an attempt. Only after a break may the same call use the instance again."""
        is_worth_repeating = (
            result is AttemptResult.BROKE
            and attempt.number < ATTEMPTS_ON_AN_INSTANCE
            and not attempt.breaker.is_tripped
        )
        if not is_worth_repeating:
            attempt.tries.failed_on.add(attempt.instance.id)
        attempt.breaker.end(attempt.serial, result, attempt.began_at, self._clock())

    def seconds_to_half_open(self) -> float:
        """Seconds until the first breaker is half-open; 0 if one is closed. The first cool-down if
        there is no instance."""
        now = self._clock()
        waits = (m.breaker.seconds_to_half_open(now) for m in self._members.values())
        return min(waits, default=self._limits.cool_down_seconds)

    def open_instances(self) -> tuple[str, ...]:
        """The ids of the instances whose breaker is open or half-open."""
        return tuple(id for id, member in self._members.items() if member.breaker.is_tripped)

    def _same_again(self, tries: Tries, now: float) -> _Member | None:
        if tries.last_id is None:
            return None
        member = self._members.get(tries.last_id)
        if member is None or member.breaker.is_tripped or not member.instance.is_serving:
            return None
        return member if _is_ready(member, tries, now) else None

    def _next_in_turn(
        self, members: tuple[_Member, ...], tries: Tries, now: float
    ) -> _Member | None:
        ready = [member for member in members if _is_ready(member, tries, now)]
        if not ready:
            return None
        if tries.is_kept_together:
            return self._kept(ready)
        self._turn += 1
        member = members[self._turn % len(members)]
        return member if member in ready else ready[self._turn % len(ready)]

    def _kept(self, ready: list[_Member]) -> _Member:
        for turn in range(self._kept_turn, self._kept_turn + len(ready)):
            member = ready[turn % len(ready)]
            if member.breaker.under_way_count < KEPT_CALLS:
                self._kept_turn = turn
                return member
        self._kept_turn += 1
        return ready[self._kept_turn % len(ready)]

    def _longest_tripped(self, tries: Tries) -> _Member | None:
        out = (
            member
            for member in (*self._serving, *self._draining)
            if member.instance.id not in tries.failed_on
            and member.breaker.is_tripped
            and not member.breaker.probe_is_out
        )
        return min(out, key=lambda member: member.breaker.waiting_since, default=None)

    def _begin(self, member: _Member, tries: Tries, now: float) -> Attempt:
        id = member.instance.id
        number = tries.attempt_counts.get(id, 0) + 1
        tries.attempt_counts[id] = number
        is_last = self._is_last(member, tries, now)
        serial = member.breaker.begin()
        tries.last_id = id
        return Attempt(member.instance, number, is_last, tries, member.breaker, serial, now)

    def _is_last(self, member: _Member, tries: Tries, now: float) -> bool:
        for other in self._members.values():
            if other is not member and _is_ready(other, tries, now):
                return False
        return True


def _is_ready(member: _Member, tries: Tries, now: float) -> bool:
    if tries.failed_on and member.instance.id in tries.failed_on:
        return False
    return not member.breaker.is_tripped or member.breaker.admits(now)
