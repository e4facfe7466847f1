"""The outcome of a refresh token, case by case."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from account_svc.domain.refresh_tokens import MAX_GENERATION, RefreshToken
from account_svc.domain.sessions import (
    IDLE_DAYS,
    KEPT_ROTATIONS,
    MAX_DAYS,
    REPEAT_SECONDS,
    Ending,
    RefreshTokenInvalid,
    RefreshTokenReused,
    Refused,
    Repeated,
    Rotated,
    Session,
    SessionEnded,
    begin,
    judge,
)

BEGAN_AT = datetime(2030, 1, 1, tzinfo=UTC)
SALT, SECRET = b"s" * 32, b"\x01" * 32
KEY, OTHER_KEY = b"k" * 32, b"o" * 32


def new_session() -> tuple[Session, RefreshToken]:
    return begin(str(uuid4()), str(uuid4()), SALT, SECRET, BEGAN_AT)


def after(**time: float) -> datetime:
    return BEGAN_AT + timedelta(**time)


def rotated(
    session: Session, token: RefreshToken, key_hash: bytes = KEY, now: datetime = BEGAN_AT
) -> tuple[Session, RefreshToken]:
    judged = judge(session, token, key_hash, now)
    assert isinstance(judged, Rotated), judged
    return judged.session, judged.successor


def refused(judged: object) -> Refused:
    assert isinstance(judged, Refused), judged
    return judged


def test_the_current_token_gives_its_successor_and_a_later_idle_end() -> None:
    session, first = new_session()
    session, second = rotated(session, first, now=after(days=1))
    assert second == first.successor(SALT)
    assert (session.generation, session.rotated_at) == (1, after(days=1))
    assert session.idle_ends_at == after(days=1 + IDLE_DAYS)
    session, third = rotated(session, second, now=after(days=2))
    assert third.generation == 2


@pytest.mark.parametrize(
    ("key_hash", "seconds"),
    [(KEY, 0), (KEY, 10 * 24 * 3600), (OTHER_KEY, 0), (OTHER_KEY, REPEAT_SECONDS)],
    ids=["at once", "by its key, days later", "by another, at once", "by another, in time"],
)
def test_a_rotation_that_is_repeated_gives_the_same_successor(
    key_hash: bytes, seconds: float
) -> None:
    session, first = new_session()
    session, second = rotated(session, first)
    assert judge(session, first, key_hash, after(seconds=seconds)) == Repeated(second)


def test_a_repeat_too_late_and_without_its_key_ends_the_session() -> None:
    session, first = new_session()
    session, _ = rotated(session, first)
    now = after(seconds=REPEAT_SECONDS + 0.001)
    judged = refused(judge(session, first, OTHER_KEY, now))
    assert isinstance(judged.error, RefreshTokenReused)
    assert judged.session == session.ended(Ending.REUSED, now)


def test_a_late_copy_of_an_older_request_gets_its_first_answer_and_ends_nothing() -> None:
    session, token = new_session()
    given = [token]
    for number in range(KEPT_ROTATIONS + 1):
        session, token = rotated(session, token, key_hash=bytes([number]) * 32)
        given.append(token)
    for number in range(1, KEPT_ROTATIONS + 1):
        copy = judge(session, given[number], bytes([number]) * 32, after(days=1))
        assert copy == Repeated(given[number + 1])
    forgotten = refused(judge(session, given[0], bytes([0]) * 32, BEGAN_AT))
    assert isinstance(forgotten.error, RefreshTokenReused)


@pytest.mark.parametrize("key_hash", [KEY, OTHER_KEY])
def test_a_token_that_is_two_behind_ends_the_session_at_once(key_hash: bytes) -> None:
    """Also with the key of the other rotation."""
    session, first = new_session()
    session, second = rotated(session, first, key_hash=b"1" * 32)
    session, third = rotated(session, second)
    judged = refused(judge(session, first, key_hash, BEGAN_AT))
    assert isinstance(judged.error, RefreshTokenReused)
    assert judged.session is not None
    for token in (first, second, third):
        again = refused(judge(judged.session, token, KEY, BEGAN_AT))
        assert isinstance(again.error, SessionEnded)
        assert again.session is None


def forged(first: RefreshToken, second: RefreshToken, third: RefreshToken) -> list[RefreshToken]:
    wrong = b"\x02" * 32
    return [
        RefreshToken(first.session_id, 0, wrong),
        RefreshToken(first.session_id, 1, wrong),
        RefreshToken(first.session_id, 2, wrong),
        # The next token can only be derived with the salt, which only we have.
        third.successor(SALT),
        RefreshToken(first.session_id, 3, third.secret),
        RefreshToken(first.session_id, 2**32 - 1, third.secret),
        RefreshToken(first.session_id, 0, second.secret),
        # Everything that the database has of the current token.
        RefreshToken(first.session_id, 2, third.secret_hash),
        RefreshToken(first.session_id, 2, SALT),
    ]


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("is_over", [False, True])
def test_a_forged_token_is_invalid_and_changes_nothing(number: int, is_over: bool) -> None:
    session, first = new_session()
    session, second = rotated(session, first)
    session, third = rotated(session, second)
    if is_over:
        session = session.ended(Ending.LOGGED_OUT, BEGAN_AT)
    judged = refused(judge(session, forged(first, second, third)[number], KEY, BEGAN_AT))
    assert isinstance(judged.error, RefreshTokenInvalid)
    assert judged.session is None


def test_a_token_of_no_session_is_answered_as_a_forged_one() -> None:
    _, first = new_session()
    judged = refused(judge(None, first, KEY, BEGAN_AT))
    assert isinstance(judged.error, RefreshTokenInvalid)
    assert judged.session is None


@pytest.mark.parametrize(
    ("refreshed_on_days", "over_on_day", "ending"),
    [
        ([], IDLE_DAYS, Ending.IDLE),
        ([5], 5 + IDLE_DAYS, Ending.IDLE),
        ([10, 20], MAX_DAYS, Ending.TOO_OLD),
        ([10, 20, 29], MAX_DAYS, Ending.TOO_OLD),
    ],
)
def test_a_session_ends_when_it_is_idle_and_when_it_is_old(
    refreshed_on_days: list[float], over_on_day: float, ending: Ending
) -> None:
    session, token = new_session()
    for day in refreshed_on_days:
        session, token = rotated(session, token, now=after(days=day))
    over_at = after(days=over_on_day)
    assert session.ending_at(over_at - timedelta(microseconds=1)) is None
    assert isinstance(judge(session, token, KEY, over_at - timedelta(microseconds=1)), Rotated)
    judged = refused(judge(session, token, KEY, over_at))
    assert isinstance(judged.error, SessionEnded)
    assert judged.error.metadata == {"cause": ending.value}


@pytest.mark.parametrize("ending", list(Ending))
def test_a_genuine_token_gets_the_reason_why_its_session_ended(ending: Ending) -> None:
    session, first = new_session()
    judged = refused(judge(session.ended(ending, BEGAN_AT), first, KEY, BEGAN_AT))
    assert judged.error.metadata == {"cause": ending.value}
    assert judged.error.message.endswith("log in again.")


def test_a_session_wears_out_before_following_its_tokens_costs_much() -> None:
    session, first = new_session()
    last = first.forward(SALT, MAX_GENERATION)
    session = session.rotated(last, KEY, BEGAN_AT)
    judged = refused(judge(session, last, KEY, BEGAN_AT))
    assert isinstance(judged.error, SessionEnded)
    assert judged.session == session.ended(Ending.WORN_OUT, BEGAN_AT)
    reused = refused(judge(session, first, KEY, BEGAN_AT))
    assert isinstance(reused.error, RefreshTokenReused)
