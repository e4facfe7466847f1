"""Sessions of players: decides what a refresh token may do, and what happens to its session.

A session starts with one login; it is a family of refresh tokens. Exactly one token is current.
Using it makes its successor current (rotation, RFC 9700 4.14.2):

- A forged token changes nothing, whichever session it names.
- The current token gives its successor. A token has only one successor.
- A replaced token gives the same successor again if the request repeats the idempotency key of
  the request that replaced it, and that was one of the last `KEPT_ROTATIONS`. So a delayed copy
  of a request does no harm. The token just before the current one does so for `REPEAT_SECONDS`
  without the key too.
- Any other genuine token is a copy, because the session's own client has a newer one: the
  session ends. So a thief and the victim cannot both keep it.

The module does no I/O. It judges one row at a time, and its callers hold the row's lock.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hmac import compare_digest

from account_svc.domain.refresh_tokens import MAX_GENERATION, SECRET_BYTES, RefreshToken
from mesh.errors import Unauthenticated

IDLE_DAYS = 14
"""A session ends after so many days without a refresh."""
MAX_DAYS = 30
"""A session ends so many days after its login, even if it is used."""
REPEAT_SECONDS = 30.0
"""How long a rotation may be repeated without its request's key."""
KEPT_ROTATIONS = 16
"""How many rotations keep their keys: more than a client makes while a request is in flight."""
MAX_LIVE_SESSIONS = 20
"""Per player. A new session replaces the one that was refreshed longest ago."""
KEPT_DAYS = 7
"""How long an ended session is kept, so that a refresh gets the reason as its answer."""


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
    Ending.DISPLACED: f"the player started more than {MAX_LIVE_SESSIONS} sessions",
    Ending.WORN_OUT: f"it was refreshed {MAX_GENERATION} times",
    Ending.IDLE: f"it was not refreshed for {IDLE_DAYS} days",
    Ending.TOO_OLD: f"{MAX_DAYS} days have passed since the login",
}


class RefreshTokenInvalid(Unauthenticated):
    """The token is malformed, unknown, deleted or forged; all four get the same answer."""

    REASON = "REFRESH_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("The refresh token is not valid here; log in again.")


class SessionEnded(Unauthenticated):
    """`cause` in the metadata says why. Only genuine tokens get this error."""

    REASON = "SESSION_ENDED"

    def __init__(self, ending: Ending) -> None:
        super().__init__(
            f"The session has ended because {_WHY[ending]}; log in again.",
            metadata={"cause": ending.value},
        )


class RefreshTokenReused(Unauthenticated):
    """This call has ended the session."""

    REASON = "REFRESH_TOKEN_REUSED"

    def __init__(self) -> None:
        super().__init__(
            "The refresh token was used before, so its session has ended: another client may have "
            "a copy. Log in again, and change the password if you did not use the token twice."
        )


REFRESH_OUTCOMES = (
    "rotated",
    "repeated",
    *(error.REASON.lower() for error in (RefreshTokenInvalid, SessionEnded, RefreshTokenReused)),
)
"""The outcomes of a refresh request, as the metric counts them."""


@dataclass(frozen=True, slots=True)
class Session:
    """A stored session. Hashes are SHA-256. `rotated_at` is when the current token was issued;
    `rotation_key_hashes` are of the idempotency keys of the last rotations, at most
    KEPT_ROTATIONS, newest first."""

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
        """This session, ended."""
        return replace(self, ended_at=now, ending=ending)

    def has_given(self, token: RefreshToken) -> bool:
        """Whether the token is or was the current one. Takes one step for each generation that
        it is behind."""
        if token.generation > self.generation:
            return False
        current = token.forward(self.salt, self.generation)
        return compare_digest(current.secret_hash, self.secret_hash)

    def rotated(self, successor: RefreshToken, key_hash: bytes, now: datetime) -> "Session":
        """This session with `successor` as the current token."""
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
    """The token was current: store `session` and return `successor`."""

    session: Session
    successor: RefreshToken


@dataclass(frozen=True, slots=True)
class Repeated:
    """The rotation was done before: return `successor` again."""

    successor: RefreshToken


@dataclass(frozen=True, slots=True)
class Refused:
    """No token is returned. `session`, if there is one, has just ended and must be stored."""

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
    """The outcome of a refresh request. `session` is the token's session, if it exists;
    `key_hash` is the SHA-256 of the request's idempotency key."""
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
    """Whether this repeats the request that replaced the token, which is genuine."""
    rotations_since = session.generation - token.generation - 1
    if rotations_since < len(session.rotation_key_hashes) and compare_digest(
        session.rotation_key_hashes[rotations_since], key_hash
    ):
        return True
    is_last = rotations_since == 0
    return is_last and now - session.rotated_at <= timedelta(seconds=REPEAT_SECONDS)
