"""The bound on the calls under way of one caller."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_http.edge.callers import Caller, Kind
from gateway_http.edge.calls_in_flight import CallBounds, CallsInFlight, Policy, TooManyCalls
from mesh.addresses import NETWORK_FACTOR

OF_PLAYER, OF_ADDRESS, OF_PLAYERS, OF_NETWORK = 3, 5, 7, 1000
ALL = CallBounds(OF_PLAYER, OF_ADDRESS, OF_PLAYERS, OF_NETWORK)
PLAYER = Caller(Kind.PLAYER, "192.0.2.1", "player:p")
BOUNDS = {Kind.PLAYER: OF_PLAYER, Kind.UNVERIFIED: OF_PLAYER, Kind.ADDRESS: OF_ADDRESS}


def entered(calls: CallsInFlight, caller: Caller) -> int:
    """How many calls of the caller find room."""
    for number in range(10_000):
        try:
            calls.enter(caller)
        except TooManyCalls:
            return number
    raise AssertionError("the calls have no bound")


@pytest.mark.parametrize("kind", Kind)
def test_a_caller_has_the_bound_of_its_kind(kind: Kind) -> None:
    refused: list[str] = []
    calls = CallsInFlight(ALL, refused.append)
    caller = Caller(kind, "192.0.2.1", "player:p" if kind is Kind.PLAYER else "")
    assert entered(calls, caller) == BOUNDS[kind]
    assert refused == [Policy[kind.name].value]
    calls.leave(caller)
    assert entered(calls, caller) == 1


def test_a_player_has_one_bound_over_all_addresses_and_others_have_their_own() -> None:
    calls = CallsInFlight(ALL)
    assert entered(calls, PLAYER) == OF_PLAYER
    assert entered(calls, Caller(Kind.PLAYER, "198.51.100.7", "player:p")) == 0
    assert entered(calls, Caller(Kind.PLAYER, "192.0.2.1", "player:q")) == OF_PLAYER


def test_calls_without_a_valid_token_take_no_place_of_players_or_of_who_logs_in() -> None:
    calls = CallsInFlight(ALL)
    assert entered(calls, Caller(Kind.UNVERIFIED, "192.0.2.1")) == OF_PLAYER
    assert entered(calls, Caller(Kind.ADDRESS, "192.0.2.1")) == OF_ADDRESS
    assert entered(calls, PLAYER) == OF_PLAYER


@pytest.mark.parametrize("kind", [Kind.UNVERIFIED, Kind.ADDRESS])
def test_a_customer_with_a_wide_network_has_a_bound_for_all_of_it(kind: Kind) -> None:
    calls = CallsInFlight(ALL)
    of_56 = sum(entered(calls, Caller(kind, f"2001:db8:0:{n:x}::1")) for n in range(256))
    assert of_56 == BOUNDS[kind] * NETWORK_FACTOR
    of_48 = sum(entered(calls, Caller(kind, f"2001:db8:0:{n << 8:x}::1")) for n in range(256))
    assert of_56 + of_48 == BOUNDS[kind] * NETWORK_FACTOR**2
    assert entered(calls, Caller(kind, "2001:db8:1::1")) == BOUNDS[kind]


def test_the_players_at_an_address_have_a_bound_together() -> None:
    refused: list[str] = []
    calls = CallsInFlight(ALL, refused.append)
    players = [Caller(Kind.PLAYER, "192.0.2.1", str(each)) for each in range(OF_PLAYERS)]
    assert sum(entered(calls, each) for each in players) == OF_PLAYERS
    assert refused[-1] == "address-players-in-flight"
    assert entered(calls, Caller(Kind.PLAYER, "192.0.2.2", "0")) == 0
    assert entered(calls, Caller(Kind.PLAYER, "192.0.2.2", "new")) == OF_PLAYER
    assert entered(calls, Caller(Kind.ADDRESS, "192.0.2.1")) == OF_ADDRESS
    calls.leave(players[0])
    assert entered(calls, Caller(Kind.PLAYER, "192.0.2.1", "other")) == 1


def test_all_calls_of_a_wide_network_have_a_bound_together() -> None:
    calls = CallsInFlight(replace(ALL, of_network=20))
    kinds = list(Kind)
    inside = [
        Caller(kinds[each % 3], f"2001:db8:0:{each << 8:x}::1", str(each)) for each in range(100)
    ]
    assert sum(entered(calls, each) for each in inside) == 20
    assert entered(calls, Caller(Kind.ADDRESS, "2001:db8:1::1")) == OF_ADDRESS


CALLERS = st.builds(
    Caller,
    st.sampled_from([Kind.UNVERIFIED, Kind.ADDRESS]),
    st.sampled_from(["192.0.2.1", "::1"]),
    st.just(""),
) | st.builds(Caller, st.just(Kind.PLAYER), st.just("::1"), st.sampled_from(["p", "q"]))


@given(st.lists(st.tuples(CALLERS, st.booleans()), max_size=80))
def test_no_caller_ever_has_more_than_the_bound_and_nothing_is_left_in_the_end(
    steps: list[tuple[Caller, bool]],
) -> None:
    calls = CallsInFlight(ALL)
    running: list[Caller] = []
    for caller, begins in steps:
        if begins:
            is_full = running.count(caller) == BOUNDS[caller.kind]
            try:
                calls.enter(caller)
            except TooManyCalls:
                assert is_full
            else:
                assert not is_full
                running.append(caller)
        elif caller in running:
            running.remove(caller)
            calls.leave(caller)
    for caller in running:
        calls.leave(caller)
    assert calls.caller_count == 0
