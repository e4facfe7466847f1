"""Refreshes, ends, lists and deletes sessions of players.

One transaction locks the session's row, judges the token and stores the result. So of any number
of requests with one token, one rotates it, and the others get the same successor. If the session
must end, it has ended durably before the caller gets its answer.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain import sessions as domain
from account_svc.domain.accounts import UserNotFound
from account_svc.domain.refresh_tokens import SECRET_BYTES, RefreshToken, parse
from account_svc.domain.sessions import (
    Ending,
    RefreshTokenInvalid,
    RefreshTokenReused,
    Refused,
    Repeated,
    Rotated,
    Session,
)
from account_svc.storage import accounts as players
from account_svc.storage import sessions as storage
from mesh.contract.field_checks import check_each
from mesh.contract.idempotency import checked_key
from mesh.errors import InvalidArgument
from mesh.identity.ended_sessions import (
    KEPT_SECONDS,
    MAX_CLOCK_SKEW_SECONDS,
    MAX_ENDED,
    EndedList,
)
from mesh.identity.tokens import Signer
from mesh.postgres.database import Database

FORGET_INTERVAL = timedelta(minutes=1)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Grant:
    """The tokens that a session's client receives."""

    token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in_seconds: int


class Sessions:
    """Sessions over the account database."""

    def __init__(
        self,
        database: Database,
        signer: Signer,
        count_refresh: Callable[[str], None] = lambda outcome: None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        random_bytes: Callable[[int], bytes] = os.urandom,
        max_forgotten: int = storage.MAX_FORGOTTEN,
    ) -> None:
        """Each refresh request calls `count_refresh` with its outcome, one of REFRESH_OUTCOMES.
        `clock` returns an aware time. `max_forgotten` bounds the rows that one `forget_old`
        removes."""
        self._database = database
        self._signer = signer
        self._count_refresh = count_refresh
        self._clock = clock
        self._random_bytes = random_bytes
        self._max_forgotten = max_forgotten
        self._forget_at = clock()

    def new(self, user_id: str) -> tuple[Session, RefreshToken]:
        """A session that is not stored yet, and its first token."""
        session_id = str(UUID(bytes=self._random_bytes(16), version=4))
        salt, secret = self._random_bytes(SECRET_BYTES), self._random_bytes(SECRET_BYTES)
        return domain.begin(session_id, user_id, salt, secret, self._clock())

    def grant(self, session: Session, refresh_token: RefreshToken) -> Grant:
        """The text of the refresh token, and a new access token, valid from now."""
        token = self._signer.sign(session.user_id, sid=session.session_id)
        return Grant(token, refresh_token.text, self._signer.lifetime_seconds)

    async def refresh(self, refresh_token: str, idempotency_key: str) -> Grant:
        """Returns the token's successor.

        Idempotent by `idempotency_key`, but each call signs a new access token. Raises
        InvalidArgument, RefreshTokenInvalid, SessionEnded, RefreshTokenReused.
        """
        _, key = check_each(
            lambda: _check_given(refresh_token), lambda: checked_key(idempotency_key)
        )
        key_hash = sha256(key.encode()).digest()
        presented = parse(refresh_token)
        if presented is None:
            self._count_refresh(RefreshTokenInvalid.REASON.lower())
            raise RefreshTokenInvalid
        session, judged = await self._database.transaction(
            lambda cursor: self._judge(cursor, presented, key_hash)
        )
        if isinstance(judged, Refused):
            self._count_refresh(judged.error.reason.lower())
            if isinstance(judged.error, RefreshTokenReused):
                log.warning("end_reused_session", session_id=presented.session_id)
            raise judged.error
        self._count_refresh("rotated" if isinstance(judged, Rotated) else "repeated")
        assert session is not None, "a successor follows from a session"
        return self.grant(session, judged.successor)

    async def logout(self, refresh_token: str) -> None:
        """Ends the session of the token, if the token is genuine. Idempotent.

        Raises InvalidArgument for a text without a token's format.
        """
        presented = parse(refresh_token)
        if presented is None:
            raise _no_token("must be a token from POST /login or POST /refresh")

        def end(cursor: Cursor) -> None:
            session = storage.lock_session(cursor, presented.session_id)
            now = self._clock()
            if session is None or not session.has_given(presented) or session.ending_at(now):
                return
            storage.update_session(cursor, session.ended(Ending.LOGGED_OUT, now))

        await self._database.transaction(end)

    async def logout_everywhere(self, user_id: str) -> None:
        """Ends every session of the player. Idempotent. Raises UserNotFound."""

        def end(cursor: Cursor) -> int:
            if players.lock_player(cursor, user_id) is None:
                raise UserNotFound
            ending = Ending.LOGGED_OUT_EVERYWHERE
            return storage.end_sessions(cursor, user_id, ending, self._clock())

        count = await self._database.transaction(end)
        log.info("logout_everywhere", user_id=user_id, ended_session_count=count)

    async def forget_old(self) -> None:
        """Removes a batch of sessions that ended long ago; does nothing if it ran a moment ago.
        Any instance may call it at any time."""
        now = self._clock()
        if now < self._forget_at:
            return
        count = await self._database.autocommit(
            lambda cursor: storage.forget_sessions(cursor, now, self._max_forgotten)
        )
        if count < self._max_forgotten:
            self._forget_at = now + FORGET_INTERVAL

    def _judge(
        self, cursor: Cursor, presented: RefreshToken, key_hash: bytes
    ) -> tuple[Session | None, Rotated | Repeated | Refused]:
        """Judges the token, and stores the result. Returns the session's earlier state."""
        session = storage.lock_session(cursor, presented.session_id)
        judged = domain.judge(session, presented, key_hash, self._clock())
        if not isinstance(judged, Repeated) and judged.session is not None:
            storage.update_session(cursor, judged.session)
        return session, judged


class EndedSessionList:
    """The sessions that have ended while their access tokens may still be unexpired."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`clock` returns an aware time."""
        self._database = database
        self._clock = clock

    async def read(self, since: datetime | None) -> EndedList:
        """A `mesh.identity.ended_sessions.Fetch`. `since` is the `as_of` of any instance's list.

        Also lists what ended shortly before `since`: it may have been committed later, and the
        clocks of instances differ.
        """
        now = self._clock()
        begin = now - timedelta(seconds=KEPT_SECONDS)
        if since is not None and since > begin:
            begin = max(begin, since - timedelta(seconds=MAX_CLOCK_SKEW_SECONDS))
        session_ids = await self._database.autocommit(
            lambda cursor: storage.list_ended(cursor, begin, now, MAX_ENDED)
        )
        return EndedList(session_ids, now)


def _check_given(refresh_token: str) -> None:
    if not refresh_token:
        raise _no_token("must be given")


def _no_token(description: str) -> InvalidArgument:
    return InvalidArgument.of_field("refresh_token", description)
