"""Who hashes next: shares of the classes, turns of the sites, and who is refused."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from account_svc.domain.hashing_queue import SHORTEST_QUEUE, HashingQueue, Urgency

SECONDS_EACH = 0.025
KNOWN, STRANGER, REGISTRATION = Urgency


class Flood:
    """A queue whose items are numbers with the class and the site that they came from."""

    def __init__(self, seconds_each: float = SECONDS_EACH) -> None:
        self.queue: HashingQueue[tuple[int, Urgency, str]] = HashingQueue()
        self.seconds_each = seconds_each
        self.number = 0
        self.refused: list[tuple[int, Urgency, str]] = []

    def arrive(self, urgency: Urgency, *sites: str) -> None:
        for site in sites:
            self.number += 1
            item = (self.number, urgency, site)
            refused = self.queue.push(urgency, site, item, self.seconds_each)
            if refused is not None:
                self.refused.append(refused)

    def served(self, count: int) -> list[tuple[int, Urgency, str]]:
        items = [self.queue.pop() for _ in range(count)]
        return [item for item in items if item is not None]


def test_each_class_gets_its_share_while_all_wait() -> None:
    flood = Flood()
    served: Counter[Urgency] = Counter()
    for _ in range(700):
        for urgency in Urgency:
            flood.arrive(urgency, "a", "b")
        served.update(urgency for _, urgency, _ in flood.served(1))
    assert [served[urgency] for urgency in Urgency] == pytest.approx([400, 200, 100], abs=2)


def test_registrations_alone_get_everything() -> None:
    flood = Flood()
    for _ in range(100):
        flood.arrive(REGISTRATION, "a")
        assert len(flood.served(1)) == 1


def test_a_class_that_did_not_wait_has_saved_up_nothing() -> None:
    flood = Flood()
    for _ in range(1_000):
        flood.arrive(REGISTRATION, "a")
        flood.served(1)
    flood.arrive(REGISTRATION, *"abcd")
    flood.arrive(KNOWN, *"abcdefgh")
    served = [urgency for _, urgency, _ in flood.served(7)]
    assert served.count(REGISTRATION) >= 1


@pytest.mark.parametrize("urgency", Urgency)
def test_ten_sites_that_flood_keep_another_one_out_of_nothing(urgency: Urgency) -> None:
    flood = Flood()
    attackers = [f"attacker {number}" for number in range(min(10, urgency.queue_length(0.02) - 1))]
    for _ in range(50):
        flood.arrive(urgency, *attackers)
    flood.arrive(urgency, "player")
    mine = (flood.number, urgency, "player")
    for _ in range(5):
        flood.arrive(urgency, *attackers)
    assert mine not in flood.refused
    assert mine in flood.served(len(attackers) + 1)


@pytest.mark.parametrize(
    ("seconds_each", "waiting"), [(0.001, (32, 24, 8)), (0.05, (32, 17, 8)), (9.0, (2, 2, 2))]
)
def test_slow_hashes_make_the_queues_shorter(
    seconds_each: float, waiting: tuple[int, int, int]
) -> None:
    assert tuple(urgency.queue_length(seconds_each) for urgency in Urgency) == waiting


class AnyFlood(RuleBasedStateMachine):
    """Whatever comes: nothing is lost, the bounds hold, and a site's own attempts stay in order."""

    def __init__(self) -> None:
        super().__init__()
        self.flood = Flood()
        self.waiting: set[tuple[int, Urgency, str]] = set()

    @rule(urgency=st.sampled_from(Urgency), site=st.sampled_from("abcd"))
    def arrive(self, urgency: Urgency, site: str) -> None:
        refused_count = len(self.flood.refused)
        self.flood.arrive(urgency, site)
        self.waiting.add((self.flood.number, urgency, site))
        for item in self.flood.refused[refused_count:]:
            count_by_site = Counter(each[2] for each in self.waiting if each[1] is urgency)
            assert count_by_site[item[2]] == max(count_by_site.values())
            self.waiting.remove(item)

    @rule(seconds_each=st.sampled_from([0.02, 0.2, 5.0]))
    def change_pace(self, seconds_each: float) -> None:
        self.flood.seconds_each = seconds_each

    @rule()
    def serve(self) -> None:
        item = self.flood.queue.pop()
        if item is None:
            assert not self.waiting
            return
        assert item == min(each for each in self._like(item))
        self.waiting.remove(item)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.waiting:
            item = data.draw(st.sampled_from(sorted(self.waiting, key=lambda each: each[0])))
            self.flood.queue.remove(item[1], item[2], item)
            self.flood.queue.remove(item[1], item[2], item)
            self.waiting.remove(item)

    @invariant()
    def nothing_is_lost_and_bounds_hold(self) -> None:
        assert len(self.flood.queue) == len(self.waiting)
        for urgency in Urgency:
            count = sum(each[1] is urgency for each in self.waiting)
            assert self.flood.queue.count(urgency) == count
            assert SHORTEST_QUEUE <= urgency.queue_length(self.flood.seconds_each) <= 32
            assert count <= urgency.queue_length(0.001)

    def _like(self, item: tuple[int, Urgency, str]) -> list[tuple[int, Urgency, str]]:
        return [each for each in self.waiting if each[1:] == item[1:]]


TestAnyFlood = AnyFlood.TestCase
TestAnyFlood.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_a_queue_always_has_room_for_somebody(seconds_each: float) -> None:
    assert all(each.queue_length(seconds_each) >= SHORTEST_QUEUE for each in Urgency)
