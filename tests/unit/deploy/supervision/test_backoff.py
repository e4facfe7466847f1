"""The delays before restarts; see deploy/local/supervision/backoff.py."""

import pytest

from deploy.local.supervision.backoff import DELAYS_SECONDS, LOOP_COUNT, STABLE_SECONDS, Backoff


def test_first_death_is_answered_at_once() -> None:
    backoff = Backoff()
    assert backoff.delay_seconds_after_death(lived_seconds=60, was_ready=True) == 0.0
    assert not backoff.is_loop


def test_deaths_in_a_row_wait_longer_up_to_a_bound_and_become_a_loop() -> None:
    backoff = Backoff()
    delays = [
        backoff.delay_seconds_after_death(lived_seconds=0.1, was_ready=False) for _ in range(9)
    ]
    assert delays == sorted(delays)
    assert delays[-1] == DELAYS_SECONDS[-1] == max(delays)
    assert backoff.is_loop


def test_a_loop_is_called_so_from_its_fifth_death_on() -> None:
    backoff = Backoff()
    verdicts = []
    for _ in range(LOOP_COUNT):
        backoff.delay_seconds_after_death(lived_seconds=0.1, was_ready=False)
        verdicts.append(backoff.is_loop)
    assert verdicts == [False] * (LOOP_COUNT - 1) + [True]


@pytest.mark.parametrize(
    ("lived_seconds", "was_ready", "is_forgiven"),
    [
        pytest.param(STABLE_SECONDS, True, True, id="ready and stable"),
        pytest.param(STABLE_SECONDS / 2, True, False, id="ready, but gone at once"),
        pytest.param(STABLE_SECONDS * 9, False, False, id="long, but never ready"),
    ],
)
def test_only_a_good_life_makes_up_for_earlier_deaths(
    lived_seconds: float, was_ready: bool, is_forgiven: bool
) -> None:
    backoff = Backoff()
    for _ in range(3):
        backoff.delay_seconds_after_death(lived_seconds=0.1, was_ready=False)
    delay = backoff.delay_seconds_after_death(lived_seconds=lived_seconds, was_ready=was_ready)
    assert (delay == 0.0) is is_forgiven
