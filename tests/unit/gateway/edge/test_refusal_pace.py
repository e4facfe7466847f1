"""How long refusals are held back."""

from hypothesis import given
from hypothesis import strategies as st

from gateway_http.edge.callers import Caller, Kind
from gateway_http.edge.refusal_pace import (
    FREE_REFUSALS,
    LONGEST_PAUSE_SECONDS,
    PER_SECOND,
    RefusalPace,
)

PLAYER = Caller(Kind.PLAYER, "192.0.2.1", "player:p")


class Paced:
    """A pace with a clock that the test moves."""

    def __init__(self, max_callers: int = 100) -> None:
        self.now = 1000.0
        self.pace = RefusalPace(lambda: self.now, max_callers=max_callers)

    def pauses(self, caller: Caller, count: int) -> list[float]:
        return [self.pace.next_pause_seconds(caller) for _ in range(count)]


def test_the_first_refusals_come_at_once_and_further_ones_one_after_the_other() -> None:
    paced = Paced()
    pauses = paced.pauses(PLAYER, FREE_REFUSALS + 3)
    assert pauses[:FREE_REFUSALS] == [0.0] * FREE_REFUSALS
    assert [round(each * PER_SECOND) for each in pauses[FREE_REFUSALS:]] == [1, 2, 3]


def test_no_refusal_is_held_back_for_longer_than_the_bound() -> None:
    paced = Paced()
    assert paced.pauses(PLAYER, 1000)[-1] == LONGEST_PAUSE_SECONDS
    paced.now += LONGEST_PAUSE_SECONDS + FREE_REFUSALS / PER_SECOND
    assert paced.pauses(PLAYER, FREE_REFUSALS) == [0.0] * FREE_REFUSALS


def test_others_do_not_wait() -> None:
    paced = Paced()
    paced.pauses(PLAYER, 1000)
    for other in (
        Caller(Kind.PLAYER, "192.0.2.1", "player:q"),
        Caller(Kind.UNVERIFIED, "192.0.2.1"),
        Caller(Kind.ADDRESS, "192.0.2.2"),
    ):
        assert paced.pauses(other, 1) == [0.0]


def test_the_networks_of_one_ipv6_customer_are_one_caller() -> None:
    paced = Paced()
    pauses = [
        paced.pace.next_pause_seconds(Caller(Kind.ADDRESS, f"2001:db8:0:{number:x}::1"))
        for number in range(1000)
    ]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert paced.pauses(Caller(Kind.ADDRESS, "2001:db8:1::1"), 1) == [0.0]


def test_the_caller_who_was_refused_least_recently_is_forgotten() -> None:
    paced = Paced(max_callers=1)
    paced.pauses(PLAYER, 1000)
    paced.pauses(Caller(Kind.ADDRESS, "192.0.2.1"), 1)
    assert paced.pauses(PLAYER, 1) == [0.0]


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_who_waits_for_each_refusal_gets_no_more_than_the_pace(gaps: list[float]) -> None:
    paced = Paced()
    began = paced.now
    for gap in gaps:
        paced.now += gap
        paced.now += paced.pace.next_pause_seconds(PLAYER)
    assert len(gaps) <= FREE_REFUSALS + (paced.now - began) * PER_SECOND + 1
