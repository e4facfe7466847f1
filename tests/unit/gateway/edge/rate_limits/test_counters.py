"""The sliding window counter: what it always refuses, and what it never refuses."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_http.edge.rate_limits.counters import Counters, Standing
from gateway_http.edge.rate_limits.policy import Policy, parse_policy

EPSILON = 1e-6
START = 1_700_000_000.0
policies = st.builds(
    Policy, st.just("player"), quota=st.integers(1, 40), window_seconds=st.integers(1, 20)
)
steps = st.lists(st.floats(0, 9, allow_nan=False), min_size=1, max_size=120)


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@given(policies, steps)
def test_no_window_has_more_than_the_quota_and_no_refusal_counts(
    policy: Policy, steps: list[float]
) -> None:
    clock, admitted = Clock(), Counter[int]()
    counters = Counters(policy, clock)
    for step in steps:
        clock.now += step
        window, passed = divmod(clock.now / policy.window_seconds, 1)
        used = admitted[int(window)] + admitted[int(window) - 1] * (1 - passed)
        standing = counters.take("a")
        if abs(policy.quota - used - 1) > EPSILON:
            assert standing.admitted == (used + 1 <= policy.quota)
        assert 0 <= standing.remaining < policy.quota
        admitted[int(window)] += standing.admitted
    assert max(admitted.values()) <= policy.quota


@given(policies, steps)
def test_a_refused_client_learns_when_it_will_be_admitted(
    policy: Policy, steps: list[float]
) -> None:
    clock = Clock()
    counters = Counters(policy, clock)
    for step in steps:
        clock.now += step / 10
        standing = counters.take("a")
        if not standing.admitted:
            assert 0 < standing.seconds <= 2 * policy.window_seconds
            clock.now += standing.seconds - min(1e-3, standing.seconds / 2)
            assert not counters.take("a").admitted
            clock.now += 2e-3
            assert counters.take("a").admitted


@given(policies, st.integers(2, 200))
def test_a_client_slightly_below_the_rate_is_never_refused(policy: Policy, count: int) -> None:
    clock = Clock()
    counters = Counters(policy, clock)
    for _ in range(count):
        clock.now += policy.window_seconds / max(0.5, policy.quota - 1.5)
        assert counters.take("a").admitted or policy.quota == 1


@given(policies, steps)
def test_the_reported_remaining_requests_may_be_used_at_once(
    policy: Policy, steps: list[float]
) -> None:
    clock = Clock()
    counters = Counters(policy, clock)
    for step in steps:
        clock.now += step
        standing = counters.take("a")
    for _ in range(standing.remaining):
        assert counters.take("a").admitted
    assert standing.remaining == 0 or not counters.take("a").admitted


def test_keys_are_limited_each_by_itself_and_the_oldest_is_forgotten() -> None:
    counters = Counters(Policy("player", 1, 10), Clock(), max_keys=2)
    assert [counters.take(key).admitted for key in ("a", "b", "a")] == [True, True, False]
    counters.take("c")  # b is the least recently seen
    assert len(counters) == 2
    assert not counters.take("a").admitted
    assert counters.take("b").admitted


def test_a_clock_that_is_set_back_gives_no_new_quota() -> None:
    clock = Clock()
    counters = Counters(Policy("player", 1, 10), clock)
    assert counters.take("a").admitted
    clock.now -= 35
    assert not counters.take("a").admitted


def test_only_busy_keys_are_shared_and_each_request_once() -> None:
    clock = Clock(START)
    counters = Counters(Policy("player", 16, 10), clock)
    counters.take("a")
    assert counters.outgoing(9) == []
    counters.take("a")
    window = int(clock.now // 10)
    assert counters.outgoing(9) == [("a", window, 2, True)]
    assert counters.outgoing(9) == []
    counters.take("a")
    assert counters.outgoing(9) == [("a", window, 1, False)]
    counters.take("a")
    clock.now += 10
    counters.take("a")
    assert counters.outgoing(9) == [("a", window, 1, True)]


def test_a_bounded_number_of_counts_is_shared_at_a_time() -> None:
    counters = Counters(Policy("player", 1, 10), Clock())
    for key in "abcde":
        counters.take(key)
    told = [len(counters.outgoing(2)) for _ in range(4)]
    assert told == [2, 2, 1, 0]
    counters.take("f")
    counters.forget_outgoing()
    assert counters.outgoing(9) == []


def test_counts_of_other_gateways_apply_in_this_window_and_the_next() -> None:
    clock = Clock(START)
    counters = Counters(Policy("player", 10, 10), clock)
    counters.take("a")
    counters.take("a")
    ((key, window, count, _),) = counters.outgoing(9)
    counters.learn(key, window, count + 8, 0)
    refused = counters.take("a")
    assert not refused.admitted
    assert refused.seconds == pytest.approx(11.0)
    clock.now += refused.seconds + EPSILON
    assert counters.take("a").admitted
    assert not counters.take("a").admitted


def test_a_total_that_comes_late_counts_as_the_window_before() -> None:
    clock = Clock(START)
    counters = Counters(Policy("player", 10, 10), clock)
    counters.take("a")
    window = int(clock.now // 10)
    clock.now += 10
    counters.take("a")
    counters.learn("a", window, 9, 0)
    assert not counters.take("a").admitted
    counters.learn("b", window, 9, 0)  # no request uses it any more
    assert len(counters) == 1


def test_the_headers_are_structured_fields() -> None:
    policy = Policy("sign-in", 300, 60)
    assert policy.header == '"sign-in";q=300;w=60'
    assert Standing(policy, True, 299, 59.2).header == '"sign-in";r=299;t=60'
    assert Standing(policy, False, 0, 0.01).header == '"sign-in";r=0;t=1'


def test_policies_are_read_as_they_are_written() -> None:
    assert parse_policy("player", " 500; w=10") == Policy("player", 500, 10)
    for wrong in ("", "500", "0;w=10", "5;w=0", "5;w=9999", "-5;w=1", "5;w=1.5", "5/s", "5;w=10;x"):
        with pytest.raises(ValueError, match="QUOTA;w=SECONDS"):
            parse_policy("player", wrong)
    assert math.isfinite(parse_policy("player", "999999999;w=3600").quota)
