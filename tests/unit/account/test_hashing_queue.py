"""Who hashes next: shares of the classes, turns of the sites, and who is refused."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from account_svc.domain.hashing_queue import (
    MAX_REMEMBERED_SITES,
    SHORTEST_QUEUE,
    HashingQueue,
    Urgency,
)

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
            self.queue.push(urgency, site, item)
            shortened = self.queue.shorten(self.seconds_each, newest_site=site)
            assert [each for each, (_, of, _) in shortened if each is not of] == []
            self.refused += [refused for _, refused in shortened]

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


def test_who_waits_already_is_refused_when_hashes_become_slow() -> None:
    flood = Flood(0.01)
    for urgency in Urgency:
        flood.arrive(urgency, *map(str, range(24)))
    flood.seconds_each = 2.0
    flood.arrive(STRANGER, *map(str, range(24, 74)))
    for urgency in Urgency:
        assert flood.queue.count(urgency) == urgency.queue_length(2.0) == SHORTEST_QUEUE
    assert len(flood.refused) == 3 * 24 + 50 - 3 * SHORTEST_QUEUE


class Siege:
    """Sites that fill a class's queue again before each attempt of a site that never had a
    turn."""

    VICTIM = "victim"

    def __init__(self, urgency: Urgency, seconds_each: float) -> None:
        self.flood = Flood(seconds_each)
        self.urgency = urgency
        self.length = urgency.queue_length(seconds_each)
        self.waiting: set[tuple[int, Urgency, str]] = set()

    def fill(self, sites: Sequence[str]) -> None:
        for site in sites:
            self._arrive(site)

    def leave(self, sites: Sequence[str]) -> None:
        """Those sites' callers disconnect."""
        for item in [each for each in self.waiting if each[2] in sites]:
            self.flood.queue.remove(self.urgency, item[2], item)
            self.waiting.remove(item)

    def is_victim_served(self) -> bool:
        """The victim tries unless it waits, and then somebody has a turn."""
        if not any(site == self.VICTIM for _, _, site in self.waiting):
            self._arrive(self.VICTIM)
        (served,) = self.flood.served(1)
        self.waiting.remove(served)
        return served[2] == self.VICTIM

    def _arrive(self, site: str) -> None:
        self.flood.refused.clear()
        self.flood.arrive(self.urgency, site)
        self.waiting.add((self.flood.number, self.urgency, site))
        self.waiting.difference_update(self.flood.refused)


@pytest.mark.parametrize("leaves", [False, True], ids=["they wait", "they leave"])
@pytest.mark.parametrize("urgency", Urgency)
def test_sites_that_refill_the_queue_do_not_keep_a_newcomer_out(
    urgency: Urgency, leaves: bool
) -> None:
    siege = Siege(urgency, SECONDS_EACH)
    attackers = [f"attacker {number}" for number in range(siege.length)]
    siege.fill(attackers)
    turn_count = 1
    while not siege.is_victim_served():
        if leaves:
            siege.leave(attackers)
        siege.fill(attackers)
        turn_count += 1
        assert turn_count <= 2 * siege.length


@given(
    urgency=st.sampled_from(Urgency),
    seconds_each=st.sampled_from([0.02, 0.2, 5.0]),
    site_count=st.integers(1, 40),
    data=st.data(),
)
@settings(deadline=None)
def test_a_newcomer_has_a_turn_within_a_bound_whoever_refills_the_queue(
    urgency: Urgency, seconds_each: float, site_count: int, data: st.DataObject
) -> None:
    siege = Siege(urgency, seconds_each)
    attackers = [f"attacker {number}" for number in range(site_count)]
    some = st.lists(st.sampled_from(attackers), max_size=2 * siege.length)
    siege.fill(attackers)
    turn_count = 1
    while not siege.is_victim_served():
        siege.leave(data.draw(some))
        siege.fill(data.draw(some))
        # Whatever is drawn, there is no room when the victim comes.
        siege.fill(attackers if data.draw(st.booleans()) else attackers[::-1])
        turn_count += 1
        assert turn_count <= site_count + siege.length


@pytest.mark.parametrize(
    ("place", "refused"), [(-1, "site"), (0, "newcomer")], ids=["remembered", "forgotten"]
)
def test_the_memory_of_sites_is_bounded(place: int, refused: str) -> None:
    sites = ["site", *(str(number) for number in range(MAX_REMEMBERED_SITES))]
    sites[0], sites[place] = sites[place], sites[0]
    flood = Flood()
    for site in sites:
        flood.arrive(REGISTRATION, site)
        flood.served(1)
    others = (f"other {number}" for number in range(REGISTRATION.queue_length(SECONDS_EACH) - 1))
    flood.arrive(REGISTRATION, "site", *others, "newcomer")
    assert [site for _, _, site in flood.refused] == [refused]


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
            count_by_site = Counter(each[2] for each in self.waiting if each[1] is item[1])
            assert count_by_site[item[2]] == max(count_by_site.values())
            self.waiting.remove(item)
        for each in Urgency:
            length = each.queue_length(self.flood.seconds_each)
            assert self.flood.queue.count(each) <= length

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
