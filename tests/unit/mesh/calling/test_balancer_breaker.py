"""The table of mesh.calling.breaker, row by row."""

import pytest

from mesh.calling.breaker import AttemptResult, Breaker, BreakerLimits

LIMITS = BreakerLimits(
    failures=3, cool_down_seconds=1.0, cool_down_bound_seconds=3.0, silence_seconds=0.5
)


class Driver:
    """A breaker with its own clock."""

    def __init__(self) -> None:
        self.breaker = Breaker(LIMITS)
        self.now = 100.0

    def begin(self) -> tuple[int, float]:
        return self.breaker.begin(), self.now

    def end(self, attempt: tuple[int, float], result: AttemptResult, after: float = 0.0) -> None:
        self.now += after
        self.breaker.end(attempt[0], result, attempt[1], self.now)

    def try_once(self, result: AttemptResult, after: float = 0.0) -> None:
        self.end(self.begin(), result, after)

    def open(self) -> None:
        for _ in range(3):
            self.try_once(AttemptResult.BROKE)
        assert self.breaker.is_tripped

    def admits(self) -> bool:
        return self.breaker.admits(self.now)


@pytest.fixture
def driver() -> Driver:
    return Driver()


def test_three_breaks_in_a_row_open_it(driver: Driver) -> None:
    driver.try_once(AttemptResult.BROKE)
    driver.try_once(AttemptResult.BROKE)
    assert not driver.breaker.is_tripped
    driver.try_once(AttemptResult.BROKE)
    assert driver.breaker.is_tripped


def test_an_answer_starts_the_count_anew(driver: Driver) -> None:
    for _ in range(10):
        driver.try_once(AttemptResult.BROKE)
        driver.try_once(AttemptResult.BROKE)
        driver.try_once(AttemptResult.ANSWERED)
    assert not driver.breaker.is_tripped


def test_calls_that_lose_one_connection_together_count_once(driver: Driver) -> None:
    attempts = [driver.begin() for _ in range(64)]
    for attempt in attempts:
        driver.end(attempt, AttemptResult.BROKE)
    assert not driver.breaker.is_tripped
    driver.try_once(AttemptResult.BROKE)
    driver.try_once(AttemptResult.BROKE)
    assert driver.breaker.is_tripped


def test_three_silences_open_it_though_they_began_together(driver: Driver) -> None:
    attempts = [driver.begin() for _ in range(3)]
    driver.end(attempts[0], AttemptResult.TIMED_OUT, after=2.0)
    driver.end(attempts[1], AttemptResult.TIMED_OUT)
    assert not driver.breaker.is_tripped
    driver.end(attempts[2], AttemptResult.TIMED_OUT)
    assert driver.breaker.is_tripped


def test_slow_calls_beside_an_answered_one_never_open_it(driver: Driver) -> None:
    slow = [driver.begin() for _ in range(20)]
    driver.try_once(AttemptResult.ANSWERED)
    driver.now += 2.0
    for attempt in slow:
        driver.end(attempt, AttemptResult.TIMED_OUT)
    assert not driver.breaker.is_tripped


def test_callers_in_a_hurry_never_open_it(driver: Driver) -> None:
    for _ in range(20):
        driver.try_once(AttemptResult.TIMED_OUT, after=0.49)
    assert not driver.breaker.is_tripped


def test_given_up_attempts_never_open_it(driver: Driver) -> None:
    for _ in range(20):
        driver.try_once(AttemptResult.GIVEN_UP, after=9.0)
    assert not driver.breaker.is_tripped


def test_it_is_half_open_after_the_cool_down_and_lets_one_probe_in(driver: Driver) -> None:
    driver.open()
    driver.now += 0.99
    assert not driver.admits()
    assert driver.breaker.seconds_to_half_open(driver.now) == pytest.approx(0.01)
    driver.now += 0.01
    assert driver.admits()
    driver.begin()
    assert not driver.admits()


def test_an_answered_probe_closes_it_with_the_first_cool_down_again(driver: Driver) -> None:
    driver.open()
    driver.now += 1.0
    driver.try_once(AttemptResult.BROKE)
    driver.now += 2.0
    driver.try_once(AttemptResult.ANSWERED)
    assert not driver.breaker.is_tripped
    driver.open()
    assert driver.breaker.seconds_to_half_open(driver.now) == 1.0


def test_failed_probes_double_the_cool_down_up_to_its_bound(driver: Driver) -> None:
    driver.open()
    cool_downs = []
    for _ in range(4):
        cool_downs.append(driver.breaker.seconds_to_half_open(driver.now))
        driver.now += cool_downs[-1]
        driver.try_once(AttemptResult.BROKE)
    assert cool_downs == [1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize("result", [AttemptResult.GIVEN_UP, AttemptResult.TIMED_OUT])
def test_a_probe_that_says_nothing_lets_the_next_one_in(
    driver: Driver, result: AttemptResult
) -> None:
    driver.open()
    driver.now += 1.0
    driver.try_once(result, after=0.1)
    assert driver.breaker.is_tripped
    assert driver.admits()


def test_a_silent_probe_opens_it_again(driver: Driver) -> None:
    driver.open()
    driver.now += 1.0
    driver.try_once(AttemptResult.TIMED_OUT, after=2.0)
    assert not driver.admits()
    assert driver.breaker.seconds_to_half_open(driver.now) == 2.0


@pytest.mark.parametrize("result", [AttemptResult.BROKE, AttemptResult.TIMED_OUT])
def test_late_failures_of_older_attempts_do_not_prolong_the_cool_down(
    driver: Driver, result: AttemptResult
) -> None:
    old = [driver.begin() for _ in range(5)]
    driver.open()
    driver.now += 0.6
    for attempt in old:
        driver.end(attempt, result)
    assert driver.breaker.seconds_to_half_open(driver.now) == pytest.approx(0.4)


def test_a_probe_counts_though_older_attempts_failed_while_it_was_out(driver: Driver) -> None:
    old = driver.begin()
    driver.open()
    driver.now += 1.0
    probe = driver.begin()
    driver.end(old, AttemptResult.BROKE)
    assert not driver.admits()
    driver.end(probe, AttemptResult.BROKE)
    assert driver.breaker.seconds_to_half_open(driver.now) == 2.0


def test_a_failed_forced_probe_leaves_the_cool_down_and_goes_to_the_end_of_the_queue(
    driver: Driver,
) -> None:
    driver.open()
    driver.now += 0.4
    driver.try_once(AttemptResult.BROKE)
    assert driver.breaker.seconds_to_half_open(driver.now) == pytest.approx(0.6)
    assert driver.breaker.waiting_since == driver.now


def test_an_answer_to_an_attempt_from_before_closes_it(driver: Driver) -> None:
    old = driver.begin()
    driver.open()
    driver.end(old, AttemptResult.ANSWERED)
    assert not driver.breaker.is_tripped


def test_the_end_of_a_probe_from_an_earlier_opening_does_not_release_a_later_one(
    driver: Driver,
) -> None:
    old = driver.begin()
    driver.open()
    driver.now += 1.0
    first_probe = driver.begin()
    driver.end(old, AttemptResult.ANSWERED)
    driver.open()
    driver.now += 1.0
    driver.begin()
    driver.end(first_probe, AttemptResult.GIVEN_UP)
    assert driver.breaker.probe_is_out
    assert not driver.admits()
