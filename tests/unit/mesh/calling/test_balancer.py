"""The table of mesh.calling.balancer, row by row."""

from collections import Counter

import pytest

from mesh.calling.balancer import KEPT_CALLS, Attempt, Balancer, Tries
from mesh.calling.breaker import AttemptResult, BreakerLimits
from mesh.contract.instances import Instance, InstanceState

A = Instance("a", "gacha_svc", "host:1")
B = Instance("b", "gacha_svc", "host:2")
C = Instance("c", "gacha_svc", "host:3")
D = Instance("d", "gacha_svc", "host:4")


def draining(instance: Instance) -> Instance:
    return Instance(instance.id, instance.service, instance.address, InstanceState.DRAINING)


class Scene:
    """A balancer with its own clock."""

    def __init__(self, *instances: Instance) -> None:
        self.now = 100.0
        self.balancer = Balancer(lambda: self.now, limits=BreakerLimits())
        self.balancer.update(instances)

    def pick(self, tries: Tries | None = None) -> Attempt:
        attempt = self.balancer.pick(Tries() if tries is None else tries)
        assert attempt is not None
        return attempt

    def call(self, *results: AttemptResult) -> list[str]:
        """Makes a call whose attempts have these outcomes; returns the instances that it tried."""
        tries = Tries()
        tried: list[str] = []
        for result in results:
            attempt = self.balancer.pick(tries)
            if attempt is None:
                return [*tried, "none left"]
            tried.append(attempt.instance.id)
            self.balancer.report(attempt, result)
        return tried

    def break_down(self, *ids: str) -> None:
        """Opens the breakers of these instances and of no others."""
        for id in ids:
            while id not in self.balancer.open_instances():
                attempt = self.pick()
                result = (
                    AttemptResult.BROKE if attempt.instance.id in ids else AttemptResult.ANSWERED
                )
                self.balancer.report(attempt, result)


def kept_together(scene: Scene, count: int) -> list[Attempt]:
    return [scene.pick(Tries(is_kept_together=True)) for _ in range(count)]


def test_calls_that_are_kept_together_stay_on_an_instance_while_few_are_under_way() -> None:
    scene = Scene(A, B)
    first = kept_together(scene, KEPT_CALLS)
    assert len({attempt.instance.id for attempt in first}) == 1
    for attempt in first:
        scene.balancer.report(attempt, AttemptResult.ANSWERED)
    scene.call(AttemptResult.ANSWERED)  # of another method, which takes turns of its own
    again = kept_together(scene, 1)
    assert again[0].instance == first[0].instance


def test_calls_that_are_kept_together_fill_one_instance_after_the_other() -> None:
    scene = Scene(A, B, C)
    counts = Counter(each.instance.id for each in kept_together(scene, 3 * KEPT_CALLS))
    assert counts == dict.fromkeys("abc", KEPT_CALLS)
    # Above that they are spread in turn.
    more = Counter(each.instance.id for each in kept_together(scene, 6))
    assert more == dict.fromkeys("abc", 2)


def test_calls_that_are_kept_together_leave_an_instance_that_is_out() -> None:
    scene = Scene(A, B)
    kept = kept_together(scene, 1)[0].instance.id
    scene.break_down(kept)
    others = {each.instance.id for each in kept_together(scene, 3)}
    assert others == {"a", "b"} - {kept}


def test_calls_that_are_kept_together_are_spread_over_those_that_are_left() -> None:
    scene = Scene(A, B, C, D)
    out = kept_together(scene, 1)[0].instance.id
    scene.break_down(out)
    counts = Counter(each.instance.id for each in kept_together(scene, 3 * KEPT_CALLS))
    assert counts == dict.fromkeys({"a", "b", "c", "d"} - {out}, KEPT_CALLS)
    more = Counter(each.instance.id for each in kept_together(scene, 30))
    assert more == dict.fromkeys({"a", "b", "c", "d"} - {out}, 10)


def test_a_call_that_failed_on_the_kept_instance_does_not_fill_one_other() -> None:
    scene = Scene(A, B, C)
    kept = kept_together(scene, 1)[0].instance.id
    again = [
        scene.pick(Tries(is_kept_together=True, failed_on={kept})) for _ in range(2 * KEPT_CALLS)
    ]
    counts = Counter(each.instance.id for each in again)
    assert counts == dict.fromkeys({"a", "b", "c"} - {kept}, KEPT_CALLS)


@pytest.mark.parametrize("turns", [1, 2, 7])
def test_calls_are_spread_evenly_in_turn(turns: int) -> None:
    scene = Scene(A, B, C)
    counts = Counter(scene.call(AttemptResult.ANSWERED)[0] for _ in range(3 * turns))
    assert counts == {"a": turns, "b": turns, "c": turns}


def test_a_call_is_tried_three_times_on_its_instance_and_then_on_the_next() -> None:
    scene = Scene(A, B)
    tried = scene.call(*[AttemptResult.BROKE] * 7)
    assert tried == ["b", "b", "b", "a", "a", "a", "none left"]


def test_a_timeout_sends_the_call_to_the_next_instance_at_once() -> None:
    scene = Scene(A, B)
    assert scene.call(*[AttemptResult.TIMED_OUT] * 3) == ["b", "a", "none left"]


def test_an_answer_that_a_call_cannot_use_sends_it_to_the_next_instance() -> None:
    scene = Scene(A, B)
    assert scene.call(*[AttemptResult.ANSWERED] * 3) == ["b", "a", "none left"]


def test_an_instance_that_is_out_is_skipped_and_the_others_share_its_calls() -> None:
    scene = Scene(A, B, C)
    scene.break_down("b")
    counts = Counter(scene.call(AttemptResult.ANSWERED)[0] for _ in range(12))
    assert set(counts) == {"a", "c"}
    assert abs(counts["a"] - counts["c"]) <= 2


def test_an_instance_that_is_back_is_found_by_a_single_probe() -> None:
    scene = Scene(A, B)
    scene.break_down("b")
    scene.now += 1.0
    picked = [scene.pick() for _ in range(6)]
    probes = [attempt for attempt in picked if attempt.instance is B]
    assert len(probes) == 1
    scene.balancer.report(probes[0], AttemptResult.ANSWERED)
    assert scene.balancer.open_instances() == ()
    assert {scene.pick().instance.id for _ in range(2)} == {"a", "b"}


def test_a_call_with_a_broken_probe_continues_elsewhere() -> None:
    scene = Scene(A, B)
    scene.break_down("b")
    scene.now += 1.0
    tried = [scene.call(AttemptResult.BROKE, AttemptResult.ANSWERED) for _ in range(2)]
    assert ["b", "a"] in tried


def test_a_call_leaves_an_instance_whose_breaker_others_have_opened() -> None:
    scene = Scene(A, B)
    tries = Tries()
    first = scene.pick(tries)
    scene.balancer.report(first, AttemptResult.BROKE)
    scene.break_down(first.instance.id)
    assert scene.pick(tries).instance.id != first.instance.id


def test_a_call_that_breaks_on_an_instance_that_is_out_by_then_does_not_go_back() -> None:
    scene = Scene(A)
    tries = Tries()
    attempt = scene.pick(tries)
    scene.break_down("a")
    scene.balancer.report(attempt, AttemptResult.BROKE)
    assert scene.balancer.pick(tries) is None


def test_a_draining_instance_gets_no_calls_while_another_is_ready() -> None:
    scene = Scene(draining(A), B)
    assert {scene.call(AttemptResult.ANSWERED)[0] for _ in range(10)} == {"b"}


def test_a_draining_instance_is_better_than_none() -> None:
    scene = Scene(draining(A))
    assert scene.call(AttemptResult.ANSWERED) == ["a"]
    scene.balancer.update([draining(A), B])
    scene.break_down("b")
    assert scene.call(AttemptResult.ANSWERED) == ["a"]


def test_a_call_moves_on_from_an_instance_that_begins_to_drain() -> None:
    scene = Scene(A, B)
    tries = Tries()
    first = scene.pick(tries)
    scene.balancer.report(first, AttemptResult.BROKE)
    others = [instance for instance in (A, B) if instance != first.instance]
    scene.balancer.update([draining(first.instance), *others])
    assert scene.pick(tries).instance.id == others[0].id


def test_a_lone_instance_that_was_restarted_is_found_by_the_next_call() -> None:
    scene = Scene(A)
    assert scene.call(*[AttemptResult.BROKE] * 4) == ["a", "a", "a", "none left"]
    assert scene.call(AttemptResult.ANSWERED) == ["a"]
    assert scene.balancer.open_instances() == ()


def test_while_all_are_out_each_is_tried_by_one_call_at_a_time() -> None:
    scene = Scene(A, B)
    scene.break_down("a", "b")
    assert {scene.pick().instance.id, scene.pick().instance.id} == {"a", "b"}
    assert scene.balancer.pick(Tries()) is None


def test_while_all_are_out_the_one_that_waited_longest_is_tried_first() -> None:
    scene = Scene(A, B, C)
    for id in ("c", "a", "b"):
        scene.break_down(id)
        scene.now += 0.1
    tried = []
    for _ in range(6):
        tried += scene.call(AttemptResult.BROKE)
        scene.now += 0.01
    assert tried == ["c", "a", "b", "c", "a", "b"]


def test_without_instances_none_is_left() -> None:
    assert Scene().call(AttemptResult.ANSWERED) == ["none left"]
    assert Scene().balancer.seconds_to_half_open() == 1.0


def test_an_instance_at_a_new_address_starts_closed_and_a_change_of_state_does_not() -> None:
    scene = Scene(A)
    scene.break_down("a")
    scene.balancer.update([draining(A)])
    assert scene.balancer.open_instances() == ("a",)
    scene.balancer.update([Instance("a", "gacha_svc", "host:9")])
    assert scene.balancer.open_instances() == ()


def test_an_instance_that_left_and_came_back_starts_closed() -> None:
    scene = Scene(A)
    scene.break_down("a")
    scene.balancer.update([])
    scene.balancer.update([A])
    assert scene.balancer.open_instances() == ()


def test_an_attempt_may_be_reported_after_its_instance_has_left() -> None:
    scene = Scene(A)
    tries = Tries()
    attempt = scene.pick(tries)
    scene.balancer.update([])
    scene.balancer.report(attempt, AttemptResult.BROKE)
    assert scene.balancer.pick(tries) is None


def test_the_last_ready_instance_is_known_as_such() -> None:
    scene = Scene(A, B)
    tries = Tries()
    first = scene.pick(tries)
    assert not first.is_last
    scene.balancer.report(first, AttemptResult.TIMED_OUT)
    assert scene.pick(tries).is_last


def test_seconds_to_half_open_is_that_of_the_first_to_come_back() -> None:
    scene = Scene(A, B)
    scene.break_down("a")
    scene.now += 0.4
    scene.break_down("b")
    assert scene.balancer.seconds_to_half_open() == pytest.approx(0.6)
