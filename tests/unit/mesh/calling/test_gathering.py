"""Batched calls gather at one instance; all others take turns."""

from collections import Counter

from mesh.calling.balancer import Attempt, Balancer, Tries
from mesh.calling.breaker import AttemptResult
from mesh.calling.gathering import MAX_GATHERED, STALE_SECONDS
from mesh.contract.instances import Instance

INSTANCES = [Instance(id, "gacha_svc", f"host:{port}") for port, id in enumerate("abc", start=1)]


class Caller:
    """A caller of three instances, with its own clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.balancer = Balancer(lambda: self.now)
        self.balancer.update(INSTANCES)

    def begin(self, *, is_batched: bool = True) -> Attempt:
        attempt = self.balancer.pick(Tries(is_batched=is_batched))
        assert attempt is not None
        return attempt

    def end(self, attempt: Attempt, result: AttemptResult = AttemptResult.ANSWERED) -> None:
        self.balancer.report(attempt, result)


def test_calls_under_way_gather_at_one_instance() -> None:
    caller = Caller()
    assert len({caller.begin().instance.id for _ in range(10)}) == 1


def test_calls_one_after_the_other_take_turns() -> None:
    caller = Caller()
    chosen = []
    for _ in range(6):
        attempt = caller.begin()
        chosen.append(attempt.instance.id)
        caller.end(attempt)
    assert Counter(chosen) == {"a": 2, "b": 2, "c": 2}


def test_other_calls_take_turns_beside_them() -> None:
    caller = Caller()
    caller.begin()
    chosen = Counter(caller.begin(is_batched=False).instance.id for _ in range(6))
    assert chosen == {"a": 2, "b": 2, "c": 2}


def test_what_an_instance_has_no_room_for_goes_to_the_next() -> None:
    caller = Caller()
    chosen = Counter(caller.begin().instance.id for _ in range(3 * MAX_GATHERED))
    assert set(chosen.values()) == {MAX_GATHERED}


def test_an_instance_that_has_become_slow_is_not_preferred() -> None:
    caller = Caller()
    slow = [caller.begin() for _ in range(3)]
    caller.now += STALE_SECONDS
    chosen = {caller.begin().instance.id for _ in range(3)}
    assert chosen != {slow[0].instance.id}
    for attempt in slow:
        caller.end(attempt)
    assert caller.begin().instance.id in chosen


def test_a_call_that_failed_there_goes_elsewhere() -> None:
    caller = Caller()
    gathered = caller.begin()
    failed = caller.begin()
    caller.end(failed, AttemptResult.TIMED_OUT)
    again = caller.balancer.pick(failed.tries)
    assert again is not None
    assert again.instance.id != gathered.instance.id


def test_an_instance_that_left_the_list_is_not_chosen() -> None:
    caller = Caller()
    gathered = caller.begin()
    left = [each for each in INSTANCES if each.id != gathered.instance.id]
    caller.balancer.update(left)
    assert caller.begin().instance in left
    caller.end(gathered)
