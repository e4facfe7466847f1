"""The delays after failed logins: the schedule, without a database."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from account_svc.domain.login_attempts import (
    CLEAR,
    FORGET_SECONDS,
    Kind,
    LoginBackoff,
    Schedule,
    Schedules,
    Standing,
    account_key,
    address_keys,
    after_attempt,
    pair_key,
    schedules_with,
    taken_back,
)

NOW = 1_800_000_000.0
USUAL = Schedules()
DAY_SECONDS = 24 * 3600.0


def guesses_in(schedule: Schedule, seconds: float) -> int:
    """The number of wrong attempts, each made as soon as it is allowed."""
    standing, now, count = CLEAR, NOW, 0
    while now < NOW + seconds:
        standing, count = after_attempt(standing, now), count + 1
        now += schedule.wait_seconds(standing, now)
    return count


def test_an_account_waits_from_its_sixth_attempt_on_and_twice_as_long_each_time() -> None:
    standing, waits = CLEAR, []
    for _ in range(17):
        waits.append(USUAL.account.wait_seconds(standing, NOW))
        standing = after_attempt(standing, NOW)
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


def test_an_address_waits_for_a_minute_at_most() -> None:
    waits = [USUAL.address.wait_seconds(Standing(count, NOW), NOW) for count in (99, 100, 105, 900)]
    assert waits == [0, 1, 32, 60]


def test_guessing_gets_few_guesses() -> None:
    assert guesses_in(USUAL.account, 3600) == 17
    assert guesses_in(USUAL.account, DAY_SECONDS) == 109
    assert guesses_in(USUAL.address, 3600) == 164


def test_a_wait_ends_when_it_is_over_and_not_before() -> None:
    standing = Standing(8, NOW)
    assert USUAL.account.wait_seconds(standing, NOW + 7.5) == pytest.approx(0.5)
    assert USUAL.account.wait_seconds(standing, NOW + 8) == 0


def test_an_hour_without_failures_forgets_all_of_them() -> None:
    standing = Standing(40, NOW)
    assert after_attempt(standing, NOW + FORGET_SECONDS - 1).failure_count == 41
    assert after_attempt(standing, NOW + FORGET_SECONDS).failure_count == 1


def test_a_clock_that_is_behind_tells_no_longer_wait_than_the_schedule_has() -> None:
    assert USUAL.account.wait_seconds(Standing(6, NOW), NOW - 600) == 2


counts = st.integers(0, 10_000)
moments = st.floats(0, 5_000, allow_nan=False)
schedules = st.builds(
    Schedule,
    st.integers(1, 200),
    first_wait_seconds=st.floats(0.5, 10),
    longest_wait_seconds=st.floats(10, 3_000),
)


@given(schedules, counts, moments)
def test_a_wait_is_none_or_within_its_bounds(
    schedule: Schedule, count: int, elapsed_seconds: float
) -> None:
    wait_seconds = schedule.wait_seconds(Standing(count, NOW), NOW + elapsed_seconds)
    assert 0 <= wait_seconds <= schedule.longest_wait_seconds
    if count < schedule.free_count:
        assert wait_seconds == 0


@given(schedules, st.integers(1, 300))
def test_more_failures_never_wait_less(schedule: Schedule, count: int) -> None:
    waits = [schedule.wait_seconds(Standing(each, NOW), NOW) for each in range(count)]
    assert all(earlier <= later for earlier, later in pairwise(waits))


@given(schedules, counts, moments)
def test_an_attempt_after_the_stated_wait_is_allowed(
    schedule: Schedule, count: int, elapsed_seconds: float
) -> None:
    standing, now = Standing(count, NOW), NOW + elapsed_seconds
    # A float of this size has a resolution of a quarter of a microsecond.
    told_seconds = schedule.wait_seconds(standing, now) + 1e-6
    assert schedule.wait_seconds(standing, now + told_seconds) == 0


@given(
    st.integers(0, 20),
    st.lists(st.booleans(), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_successes_leave_nothing_behind_in_any_order_of_their_ends(
    failures_before: int, outcomes: list[bool], order: random.Random
) -> None:
    first = Standing(failures_before, NOW) if failures_before else CLEAR
    standing, under_way, failed_at = first, [], []
    for number, succeeds in enumerate(outcomes, start=1):
        began_at = NOW + number
        if succeeds:
            under_way.append(standing)
        else:
            failed_at.append(began_at)
        standing = after_attempt(standing, began_at)
        if under_way and order.random() < 0.5:
            standing = taken_back(standing, under_way.pop(order.randrange(len(under_way))))
    order.shuffle(under_way)
    for before in under_way:
        standing = taken_back(standing, before)
    assert standing.failure_count == failures_before + len(failed_at)
    if not failed_at:
        assert standing == first
    assert standing.last_failed_at <= max([NOW if failures_before else 0.0, *failed_at])


def test_a_success_clears_no_failures_that_came_before_it_at_an_address() -> None:
    before = Standing(120, NOW - 300)
    assert taken_back(after_attempt(before, NOW), before) == before


def test_subjects_are_distinguished_and_named_by_digests_alone() -> None:
    account, (address,) = account_key("Mira"), address_keys("192.0.2.1")
    assert account == account_key("mIRA") != account_key("noor")
    assert address is not None
    pair = pair_key(account, address)
    assert [key.kind for key in (account, address, pair)] == [
        Kind.ACCOUNT,
        Kind.ADDRESS,
        Kind.PAIR,
    ]
    assert {len(digest) for digest in (pair.account_hash, pair.address_hash)} == {32}


def test_an_ipv6_customer_is_one_address_and_an_unknown_one_is_none() -> None:
    assert address_keys("2001:db8:1:2::3") == address_keys("2001:DB8:1:2:ffff::1")
    assert address_keys("2001:db8:1:2::3")[0] != address_keys("2001:db8:1:3::3")[0]
    assert address_keys("2001:db8:1:2::3")[1:] == address_keys("2001:db8:1:3::3")[1:]
    assert address_keys("2001:db8:1:2::3")[2] == address_keys("2001:db8:1:ffff::3")[2]
    assert len(address_keys("2001:db8:1:2::3")) == 3
    assert address_keys("::ffff:192.0.2.1") == address_keys("192.0.2.1")
    assert address_keys("unknown") == ()
    assert address_keys("") == ()


def test_a_refusal_says_when_to_return() -> None:
    error = LoginBackoff(3.2)
    assert (error.reason, error.retry_after_seconds) == ("LOGIN_BACKOFF", 3.2)
    assert "try again in 4 s" in error.message


def test_other_numbers_of_free_attempts_change_nothing_else() -> None:
    chosen = schedules_with(7, 1_000)
    assert chosen.account.free_count == 7
    assert [chosen.of_network(n).free_count for n in range(3)] == [1_000, 4_000, 16_000]
    assert chosen.account.longest_wait_seconds == USUAL.account.longest_wait_seconds
