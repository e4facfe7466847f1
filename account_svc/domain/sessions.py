"""Sessions of players: what a presented refresh token means, and what becomes of its session.

A session is what one login began, and what others call a family of refresh tokens. Exactly
one token is current; using it makes its successor current (rotation, RFC 9700 4.14.2). So

- a token that was never ours changes nothing, whatever session it names;
- the current token gives its successor, and no two tokens follow from one;
- one that was replaced gives the same successor again to whoever repeats the request that
  replaced it, by its key, while that was one of the last `KEPT_ROTATIONS`: a copy that was
  delayed harms nobody; and the one just before the current, by the token alone, for
  `REPEAT_SECONDS`;
- any other genuine token is held by somebody besides the session's own client, for that one
  has gone on: the session ends. So a thief and a victim cannot both stay.

The module does no I/O: it judges a row at a time, and its callers hold the row's lock.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hmac import compare_digest

from account_svc.domain.refresh_tokens import MAX_GENERATION, SECRET_BYTES, RefreshToken
from mesh.errors import Unauthenticated

IDLE_DAYS = 14
"""A session ends when it was not refreshed for so long."""
MAX_DAYS = 30
"""A session ends so long after its login, however it is used."""
REPEAT_SECONDS = 30.0
"""For how long a rotation may be repeated without its request's key."""
KEPT_ROTATIONS = 16
"""Of how many the keys are known: more than a client makes while a request may be under way."""
MAX_LIVE_SESSIONS = 20
"""Of one player; the one that was refreshed longest ago makes room for another."""
KEPT_DAYS = 7
"""For how long an ended session is kept, so that its refresh can be answered with why."""


class Ending(StrEnum):
    """Why a session has ended."""

    LOGGED_OUT = "logged_out"
    LOGGED_OUT_EVERYWHERE = "logged_out_everywhere"
    PASSWORD_CHANGED = "password_changed"
    REUSED = "reused"
    DISPLACED = "displaced"
    WORN_OUT = "worn_out"
    IDLE = "idle"
    TOO_OLD = "too_old"


_WHY = {
    Ending.LOGGED_OUT: "it was logged out",
    Ending.LOGGED_OUT_EVERYWHERE: "the player logged out everywhere",
    Ending.PASSWORD_CHANGED: "the password was changed",
    Ending.REUSED: "one of its refresh tokens was used twice",
    Ending.DISPLACED: f"the player has begun more than {MAX_LIVE_SESSIONS} sessions",
    Ending.WORN_OUT: f"it was refreshed {MAX_GENERATION} times",
    Ending.IDLE: f"it was not refreshed for {IDLE_DAYS} days",
    Ending.TOO_OLD: f"{MAX_DAYS} days have passed since the login",
}


class RefreshTokenInvalid(Unauthenticated):
    """One answer for what is malformed, unknown, forgotten or forged."""

    REASON = "REFRESH_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("The refresh token is not valid here; log in again.")


class SessionEnded(Unauthenticated):
    """`cause` in the metadata says why. Only genuine tokens get this error."""

    REASON = "SESSION_ENDED"

    def __init__(self, ending: Ending) -> None:
        super().__init__(
            f"The session has ended, for {_WHY[ending]}; log in again.",
            metadata={"cause": ending.value},
        )


class RefreshTokenReused(Unauthenticated):
    """The session has ended just now because of this call."""

    REASON = "REFRESH_TOKEN_REUSED"

    def __init__(self) -> None:
        super().__init__(
            "The refresh token was used before, so somebody else may hold a copy of it, and its "
            "session has ended; log in again, and change the password if you did not do this."
        )


REFRESH_OUTCOMES = (
    "rotated",
    "repeated",
    *(error.REASON.lower() for error in (RefreshTokenInvalid, SessionEnded, RefreshTokenReused)),
)
"""How a request to refresh may end, as it is counted."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is stored. Hashes are SHA-256; `rotated_at` is when the current token
    was first given, and `rotation_key_hashes` are those of the keys of the last requests that
    rotated, at most KEPT_ROTATIONS, newest first."""

    session_id: str
    user_id: str
    salt: bytes = field(repr=False)
    generation: int
    secret_hash: bytes = field(repr=False)
    rotation_key_hashes: tuple[bytes, ...] = field(repr=False)
    rotated_at: datetime
    created_at: datetime
    idle_ends_at: datetime
    ends_at: datetime
    ended_at: datetime | None = None
    ending: Ending | None = None

    def ending_at(self, now: datetime) -> Ending | None:
        """Why the session is over; None while it lives."""
        if self.ending is not None:
            return self.ending
        if now >= self.ends_at:
            return Ending.TOO_OLD
        return Ending.IDLE if now >= self.idle_ends_at else None

    def ended(self, ending: Ending, now: datetime) -> "Session":
        """This session once it has ended."""
        return replace(self, ended_at=now, ending=ending)

    def has_given(self, token: RefreshToken) -> bool:
        """Whether the token is the current one or was once. It takes as many steps as it is
        behind."""
        if token.generation > self.generation:
            return False
        current = token.forward(self.salt, self.generation)
        return compare_digest(current.secret_hash, self.secret_hash)

    def rotated(self, successor: RefreshToken, key_hash: bytes, now: datetime) -> "Session":
        """This session once `successor` is current."""
        return replace(
            self,
            generation=successor.generation,
            secret_hash=successor.secret_hash,
            rotation_key_hashes=(key_hash, *self.rotation_key_hashes)[:KEPT_ROTATIONS],
            rotated_at=now,
            idle_ends_at=now + timedelta(days=IDLE_DAYS),
        )


@dataclass(frozen=True, slots=True)
class Rotated:
    """The token was current: `session` is to be stored and `successor` to be given."""

    session: Session
    successor: RefreshToken


@dataclass(frozen=True, slots=True)
class Repeated:
    """The rotation was done before: `successor` is to be given once more."""

    successor: RefreshToken


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is given. `session`, when there is one, has ended just now and is to be stored."""

    error: RefreshTokenInvalid | SessionEnded | RefreshTokenReused
    session: Session | None = None


def begin(
    session_id: str, user_id: str, salt: bytes, secret: bytes, now: datetime
) -> tuple[Session, RefreshToken]:
    """A new session and its first token. `salt` and `secret` are SECRET_BYTES of randomness
    each."""
    assert len(salt) == len(secret) == SECRET_BYTES, "both are drawn by us"
    first = RefreshToken(session_id, 0, secret)
    ends_at = now + timedelta(days=MAX_DAYS)
    idle_ends_at = now + timedelta(days=IDLE_DAYS)
    session = Session(
        session_id, user_id, salt, 0, first.secret_hash, (), now, now, idle_ends_at, ends_at
    )
    return session, first


def judge(
    session: Session | None, token: RefreshToken, key_hash: bytes, now: datetime
) -> Rotated | Repeated | Refused:
    """The outcome of a request to refresh. `session` is the one that the token names, if there
    is one; `key_hash` the SHA-256 of the request's key."""
    if session is None or not session.has_given(token):
        return Refused(RefreshTokenInvalid())
    ending = session.ending_at(now)
    if ending is not None:
        return Refused(SessionEnded(ending))
    if token.generation == session.generation:
        if session.generation == MAX_GENERATION:
            return Refused(SessionEnded(Ending.WORN_OUT), session.ended(Ending.WORN_OUT, now))
        successor = token.successor(session.salt)
        return Rotated(session.rotated(successor, key_hash, now), successor)
    if _is_repeat(session, token, key_hash, now):
        return Repeated(token.successor(session.salt))
    return Refused(RefreshTokenReused(), session.ended(Ending.REUSED, now))


def _is_repeat(session: Session, token: RefreshToken, key_hash: bytes, now: datetime) -> bool:
    """Of the request that replaced the token, which is a genuine one."""
    rotations_since = session.generation - token.generation - 1
    if rotations_since < len(session.rotation_key_hashes) and compare_digest(
        session.rotation_key_hashes[rotations_since], key_hash
    ):
        return True
    is_last = rotations_since == 0
    return is_last and now - session.rotated_at <= timedelta(seconds=REPEAT_SECONDS)
