"""Which connection ends for which: bounds for each address and for all."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_http.listening.bounds import Bounds
from gateway_http.listening.places import Place, Places, Reason, State
from mesh.addresses import NETWORK_FACTOR, networks_of

BOUNDS = Bounds(max_connections=6, max_address_connections=4, max_address_unfinished=2)
A, B, PROXY = "192.0.2.1", "192.0.2.2", None
IDLE, UNFINISHED, BUSY = State.IDLE, State.UNFINISHED, State.BUSY


@dataclass
class Crowd:
    """Places with named connections; it records what ends."""

    places: Places = field(init=False)
    by_name: dict[str, Place] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    reasons: Counter[Reason] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.places = Places(BOUNDS, count_end=lambda reason: self.reasons.update([reason]))

    def connect(self, name: str, site: str | None, state: State = IDLE) -> bool:
        place = self.places.take(() if site is None else networks_of(site))
        if place is None:
            return False
        self.by_name[name] = place
        place.drop = partial(self.dropped.append, name)
        place.give_up = partial(self.given_up.append, name)  # its end takes effect later
        self.move(name, state)
        return True

    def move(self, name: str, state: State, site: Callable[[], str | None] | None = None) -> None:
        place = self.by_name[name]
        if site is None:
            self.places.move(place, state, place.sites)
        else:
            named = site()
            self.places.move(place, state, () if named is None else networks_of(named))


def test_the_connection_that_has_waited_for_longest_makes_room() -> None:
    crowd = Crowd()
    for number in range(6):
        assert crowd.connect(f"{number}", f"site {number}", UNFINISHED if number == 2 else IDLE)
    for state in (BUSY, IDLE):  # it has just been used
        crowd.move("0", state)
    for number in range(3):
        assert crowd.connect(f"new {number}", f"new site {number}")
    assert crowd.dropped == ["1", "2", "3"]
    assert (crowd.places.count, crowd.reasons[Reason.FULL]) == (6, 3)


def test_busy_connections_make_no_room() -> None:
    crowd = Crowd()
    for number in range(6):
        crowd.connect(f"{number}", f"site {number}", BUSY if number < 3 else UNFINISHED)
    for number in range(3):
        assert crowd.places.has_room
        assert crowd.connect(f"new {number}", f"new site {number}", BUSY)
    assert crowd.dropped == ["3", "4", "5"]
    assert not crowd.places.has_room
    crowd.move("0", IDLE)
    assert crowd.places.has_room


def test_an_address_ends_its_own_connections_alone() -> None:
    crowd = Crowd()
    crowd.connect("other", B)
    for number in range(4):
        assert crowd.connect(f"{number}", A)
    assert crowd.connect("4", A, BUSY)
    assert crowd.dropped == ["0"]
    for number in (1, 2, 3):
        crowd.move(f"{number}", BUSY)
    assert not crowd.connect("5", A)
    assert crowd.connect("another", B)
    assert (crowd.dropped, crowd.reasons[Reason.ADDRESS]) == (["0"], 2)


@pytest.mark.parametrize("shift", [0, 8], ids=["of a /56", "of a /48"])
def test_the_networks_of_an_ipv6_customer_have_a_bound_together(shift: int) -> None:
    bounds = Bounds(max_connections=10_000, max_address_connections=4, max_address_unfinished=2)
    places = Places(bounds)
    times = NETWORK_FACTOR if shift == 0 else NETWORK_FACTOR**2
    taken: list[Place] = []

    for number in range(250):
        place = places.take(networks_of(f"2001:db8:0:{number << shift:x}::1"))
        assert place is not None
        places.move(place, UNFINISHED, place.sites)
        taken.append(place)
    assert places.count == 4 * times
    unfinished = [place for place in taken if place.state is UNFINISHED and not place.has_left]
    assert len(unfinished) == 2 * times
    assert places.take(networks_of("2001:db8:1::1")) is not None
    assert places.count == 4 * times + 1


def test_the_request_that_is_unfinished_for_longest_is_given_up() -> None:
    crowd = Crowd()
    crowd.connect("other", B, UNFINISHED)
    for number in range(3):
        crowd.connect(f"{number}", A, UNFINISHED)
        if number < 2:
            crowd.move("0", UNFINISHED)  # more of it has come: it is still the oldest
    assert (crowd.given_up, crowd.reasons[Reason.UNFINISHED]) == (["0"], 1)
    crowd.move("1", BUSY)
    crowd.connect("3", A, UNFINISHED)
    assert crowd.given_up == ["0"]
    for number in range(4, 9):
        crowd.connect(f"{number}", A, UNFINISHED)
    assert len(set(crowd.given_up)) == len(crowd.given_up) == crowd.reasons[Reason.UNFINISHED]


def test_connections_of_proxies_count_for_no_address() -> None:
    crowd = Crowd()
    for number in range(6):
        assert crowd.connect(f"{number}", PROXY, UNFINISHED)
    assert (crowd.dropped, crowd.given_up) == ([], [])


def test_a_body_through_a_proxy_counts_for_its_client() -> None:
    crowd = Crowd()
    for number in range(4):
        crowd.connect(f"{number}", PROXY, UNFINISHED)
        crowd.move(f"{number}", UNFINISHED, lambda: A if number else B)  # noqa: B023 (called now)
    assert crowd.given_up == ["1"]
    crowd.move("2", IDLE, lambda: PROXY)
    crowd.move("2", UNFINISHED, lambda: A)
    assert crowd.given_up == ["1"]


def test_what_has_left_counts_no_more() -> None:
    crowd = Crowd()
    crowd.connect("0", A)
    for _ in range(2):
        crowd.places.leave(crowd.by_name["0"])
        crowd.move("0", BUSY)
    assert crowd.places.count == 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("connect"), st.sampled_from([A, B, "C", PROXY])),
        st.tuples(st.sampled_from(list(State)), st.integers(0, 20)),
        st.tuples(st.just("leave"), st.integers(0, 20)),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_bound_is_ever_passed_and_only_busy_connections_keep_others_out(
    steps: list[tuple[object, object]],
) -> None:
    crowd = Crowd()
    for number, (what, value) in enumerate(steps):
        name = str(value)
        if what == "connect":
            has_room = crowd.places.has_room
            site = value if isinstance(value, str) else None
            is_own_fault = site is not None and count(crowd, site) >= 4
            if has_room:
                taken = crowd.connect(str(number), site)
                assert taken or (is_own_fault and count(crowd, site, BUSY) == 4)
        elif name not in crowd.by_name:
            continue
        elif what == "leave":
            crowd.places.leave(crowd.by_name[name])
            crowd.dropped.append(name)
        else:
            assert isinstance(what, State)
            crowd.move(name, what)
        assert crowd.places.count == len(living(crowd)) <= 6
        assert crowd.places.has_room == (count(crowd, None, BUSY) < 6)
        for site in (A, B, "C"):
            assert count(crowd, site) <= 4
            assert count(crowd, site, UNFINISHED) <= 2


def living(crowd: Crowd) -> list[Place]:
    return [place for name, place in crowd.by_name.items() if name not in crowd.dropped]


def count(crowd: Crowd, site: str | None, state: State | None = None) -> int:
    """The living places of a site, or of all for None."""
    return sum(
        (site is None or site in place.sites) and (state is None or place.state is state)
        for place in living(crowd)
    )


@pytest.mark.parametrize("state", [IDLE, UNFINISHED])
def test_a_dropped_connection_is_dropped_once(state: State) -> None:
    crowd = Crowd()
    for number in range(6):
        crowd.connect(f"{number}", f"site {number}", state)
    for number in range(6):
        crowd.connect(f"new {number}", f"new site {number}")
    assert crowd.dropped == [f"{number}" for number in range(6)]
