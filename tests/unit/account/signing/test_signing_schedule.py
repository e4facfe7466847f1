"""The key that signs at each moment, in cases that can be checked by hand."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from account_svc.domain.signing import signing_keys
from account_svc.domain.signing.signing_keys import (
    MARGIN_SECONDS,
    SETTLE_SECONDS,
    Schedule,
    ScheduledKey,
    State,
)

OVERLAP = signing_keys.overlap_seconds(900)
LONG_AGO = -100_000.0
MADE = {"a": 0.0, "b": 100.0, "c": 200.0}


def schedule(*keys: ScheduledKey) -> Schedule:
    return Schedule(keys, OVERLAP)


def at_start(started_at: float, **made_at: float) -> Schedule:
    """The schedule of a process that has just started; the keys are given by creation time."""
    return schedule(
        *(
            signing_keys.found_at_start(kid, made, started_at, OVERLAP)
            for kid, made in made_at.items()
        )
    )


def test_the_overlap_is_longer_than_a_token_lives() -> None:
    assert OVERLAP == 900 + MARGIN_SECONDS


@pytest.mark.parametrize("made_at", [LONG_AGO, -10.0, 0.0, 500.0], ids=str)
def test_a_key_that_is_alone_signs_at_once(made_at: float) -> None:
    alone = at_start(0, a=made_at)
    assert alone.signing(0).kid == "a"
    assert alone.state(alone.keys[0], 0) is State.SIGNING


def test_a_new_key_signs_half_a_minute_after_it_was_seen() -> None:
    old = ScheduledKey("old", LONG_AGO, LONG_AGO)
    both = schedule(old, signing_keys.seen_first("new", made_at=100, seen_at=104))
    assert both.signing(104 + SETTLE_SECONDS - 0.1).kid == "old"
    assert both.signing(104 + SETTLE_SECONDS).kid == "new"


def test_a_key_that_is_named_after_a_later_moment_waits_for_it() -> None:
    old = ScheduledKey("old", LONG_AGO, LONG_AGO)
    both = schedule(old, signing_keys.seen_first("new", made_at=5_000, seen_at=104))
    assert both.signing(5_000 + SETTLE_SECONDS - 0.1).kid == "old"
    assert both.signing(5_000 + SETTLE_SECONDS).kid == "new"


def test_an_old_key_that_comes_late_waits_as_a_new_one() -> None:
    first = ScheduledKey("first", LONG_AGO, LONG_AGO)
    both = schedule(first, signing_keys.seen_first("second", made_at=LONG_AGO + 1, seen_at=104))
    assert both.signing(104).kid == "first"
    assert both.signing(104 + SETTLE_SECONDS).kid == "second"


def test_a_process_that_starts_amid_a_rotation_signs_with_the_older_key_first() -> None:
    started = at_start(50, old=LONG_AGO, new=0)
    assert started.signing(50).kid == "old"
    assert started.signing(50 + SETTLE_SECONDS).kid == "new"


def test_a_process_that_starts_when_the_old_key_may_go_does_not_sign_with_it() -> None:
    earliest_removal = SETTLE_SECONDS + OVERLAP
    for started_at, kid in ((earliest_removal - 0.1, "old"), (earliest_removal, "new")):
        assert at_start(started_at, old=LONG_AGO, new=0).signing(started_at).kid == kid


def test_among_keys_that_are_all_new_the_oldest_signs() -> None:
    started = at_start(10, a=0, b=5, c=9)
    assert [started.state(key, 10) for key in started.keys] == [
        State.SIGNING,
        State.WAITING,
        State.WAITING,
    ]
    assert started.signing(10 + SETTLE_SECONDS).kid == "c"


def test_a_key_may_be_removed_when_the_overlap_is_over() -> None:
    both = at_start(0, old=LONG_AGO, new=0)
    old, new = both.keys
    assert both.removable_at(old, SETTLE_SECONDS - 1) is None
    assert both.removable_at(old, SETTLE_SECONDS) == SETTLE_SECONDS + OVERLAP
    assert both.removable_at(new, 1e9) is None


def test_a_restart_makes_the_overlap_longer_and_never_shorter() -> None:
    restarted = at_start(10_000, old=LONG_AGO, new=0)
    assert restarted.removable_at(restarted.keys[0], 10_000) == 10_000 + OVERLAP


def test_the_overlap_counts_from_the_first_key_that_took_over() -> None:
    keys = schedule(
        *(
            ScheduledKey(kid, made, made + 30)
            for kid, made in zip("abc", (0, 100, 200), strict=True)
        )
    )
    assert keys.removable_at(keys.keys[0], 1_000) == 130 + OVERLAP
    assert keys.removable_at(keys.keys[1], 1_000) == 230 + OVERLAP
    assert [keys.state(key, 1_000) for key in keys.keys] == [
        State.SUPERSEDED,
        State.SUPERSEDED,
        State.SIGNING,
    ]


def test_when_the_newest_is_revoked_the_one_before_signs_again() -> None:
    a, b = ScheduledKey("a", 0, 30), ScheduledKey("b", 100, 130)
    assert schedule(a, b).signing(500).kid == "b"
    again = schedule(a)
    assert again.signing(500).kid == "a"
    assert again.removable_at(a, 500) is None


def test_a_file_name_is_the_time_of_creation_in_utc_from_any_zone() -> None:
    moment = datetime(2027, 1, 31, 20, 45, 1, tzinfo=timezone(timedelta(hours=1)))
    name = signing_keys.file_name(moment)
    assert name == "20270131T194501Z.pem"
    assert signing_keys.made_at_of(name) == moment.timestamp()
    assert (
        signing_keys.made_at_of("19700101T000001Z.pem")
        == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC).timestamp()
    )


@pytest.mark.parametrize(
    "name",
    ["key.pem", "20270131T194501.pem", "20271331T194501Z.pem", "2027131T194501Z.pem", ".pem",
     "20270131T194501Z.pem.pem", "٢٠٢٧0131T194501Z.pem"],
)  # fmt: skip
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time of its creation"):
        signing_keys.made_at_of(name)
