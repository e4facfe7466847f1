"""Sessions of players in the account database. Every function runs in the caller's
transaction, by its cursor.

A transaction that adds a session, or changes several sessions of a player, locks the player's
row first (`storage.accounts.lock_player`). So such transactions run one after another.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.sessions import KEPT_DAYS, MAX_LIVE_SESSIONS, Ending, Session
from mesh.identity.ended_sessions import KEPT_SECONDS, MAX_CLOCK_SKEW_SECONDS
from mesh.postgres.pulse import Question

MAX_REMEMBERED_SESSIONS = 100
"""Per player, including ended sessions, so that frequent logins cannot fill the disk. Besides
them are those that ended within KEPT_SECONDS, because verifiers have to learn of them."""
RECENT_SECONDS = 2 * MAX_CLOCK_SKEW_SECONDS
"""The clocks of instances differ, and the end of a session may be committed a little later."""
MAX_FORGOTTEN = 1000
"""The most rows that one call removes."""


def insert_session(cursor: Cursor, session: Session) -> None:
    """Adds a session. First ends or deletes the player's oldest ones if there are too many."""
    _make_room(cursor, session.user_id, session.created_at)
    cursor.execute(
        """
        INSERT INTO player_session
            (session_id, user_id, salt, generation, secret_hash, rotation_key_hashes,
             rotated_at, created_at, idle_ends_at, ends_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            session.session_id,
            session.user_id,
            session.salt,
            session.generation,
            session.secret_hash,
            b"".join(session.rotation_key_hashes),
            session.rotated_at,
            session.created_at,
            session.idle_ends_at,
            session.ends_at,
        ),
    )


def lock_session(cursor: Cursor, session_id: str) -> Session | None:
    """The session of that id, locked until the transaction ends."""
    cursor.execute(
        """
        SELECT session_id, user_id, salt, generation, secret_hash, rotation_key_hashes,
               rotated_at, created_at, idle_ends_at, ends_at, ended_at, ending
        FROM player_session WHERE session_id = %s FOR UPDATE
        """,
        (session_id,),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    return _session(row)


def update_session(cursor: Cursor, session: Session) -> None:
    """Stores a changed session from `lock_session`."""
    cursor.execute(
        """
        UPDATE player_session
        SET generation = %s, secret_hash = %s, rotation_key_hashes = %s, rotated_at = %s,
            idle_ends_at = %s, ended_at = %s, ending = %s
        WHERE session_id = %s
        """,
        (
            session.generation,
            session.secret_hash,
            b"".join(session.rotation_key_hashes),
            session.rotated_at,
            session.idle_ends_at,
            session.ended_at,
            None if session.ending is None else session.ending.value,
            session.session_id,
        ),
    )


def end_sessions(cursor: Cursor, user_id: str, ending: Ending, now: datetime) -> int:
    """Ends every live session of the player; returns how many."""
    # A session that another instance ended has ended, even if that instance's clock is ahead.
    cursor.execute(
        """
        UPDATE player_session SET ended_at = %s, ending = %s
        WHERE user_id = %s AND ended_at IS NULL AND over_at > %s
        """,
        (now, ending.value, user_id, now),
    )
    return cursor.rowcount


RECENTLY_ENDED = Question(
    """
    EXISTS (SELECT FROM player_session
    WHERE over_at BETWEEN $1 - make_interval(secs => %s) AND $1 + make_interval(secs => %s)
      AND (ended_at IS NOT NULL OR over_at <= $1))
    """,
    (RECENT_SECONDS, MAX_CLOCK_SKEW_SECONDS),
)
"""Whether `list_ended` may list a session that it did not list a moment ago."""


def list_ended(cursor: Cursor, since: datetime, now: datetime, max_count: int) -> list[str]:
    """The ids of sessions that ended after `since`, the last ended first, at most `max_count`."""
    # An instance whose clock is ahead may have ended a session a little after `now`.
    cursor.execute(
        """
        SELECT session_id FROM player_session
        WHERE over_at > %s AND over_at <= %s AND (ended_at IS NOT NULL OR over_at <= %s)
        ORDER BY over_at DESC LIMIT %s
        """,
        (since, now + timedelta(seconds=MAX_CLOCK_SKEW_SECONDS), now, max_count),
    )
    return [str(session_id) for (session_id,) in cursor.fetchall()]


def forget_sessions(cursor: Cursor, now: datetime, max_count: int = MAX_FORGOTTEN) -> int:
    """Removes sessions that ended KEPT_DAYS ago; returns how many, at most `max_count`."""
    cursor.execute(
        """
        DELETE FROM player_session WHERE session_id IN (
            SELECT session_id FROM player_session WHERE over_at < %s
            ORDER BY over_at LIMIT %s FOR UPDATE SKIP LOCKED
        )
        """,
        (now - timedelta(days=KEPT_DAYS), max_count),
    )
    return cursor.rowcount


def _make_room(cursor: Cursor, user_id: str, now: datetime) -> None:
    """Makes room for one more session within both bounds, on live and on all sessions."""
    cursor.execute(
        """
        UPDATE player_session SET ended_at = %s, ending = %s
        WHERE ended_at IS NULL AND session_id IN (
            SELECT session_id FROM player_session WHERE user_id = %s AND over_at > %s
            ORDER BY rotated_at DESC, session_id OFFSET %s
        )
        """,
        (now, Ending.DISPLACED.value, user_id, now, MAX_LIVE_SESSIONS - 1),
    )
    cursor.execute(
        """
        DELETE FROM player_session WHERE session_id IN (
            SELECT session_id FROM player_session WHERE user_id = %s AND over_at < %s
            ORDER BY over_at DESC, session_id OFFSET %s LIMIT %s
        )
        """,
        (
            user_id,
            now - timedelta(seconds=KEPT_SECONDS),
            MAX_REMEMBERED_SESSIONS - MAX_LIVE_SESSIONS,
            MAX_FORGOTTEN,
        ),
    )


def _session(row: Sequence[Any]) -> Session:
    ids, (salt, generation, secret_hash, stored_keys), (*times, ending) = row[:2], row[2:6], row[6:]
    rotated_at, created_at, idle_ends_at, ends_at, ended_at = times
    session_id, user_id = map(str, ids)
    return Session(
        session_id,
        user_id,
        bytes(salt),
        generation,
        bytes(secret_hash),
        _key_hashes(bytes(stored_keys)),
        rotated_at,
        created_at,
        idle_ends_at,
        ends_at,
        ended_at,
        None if ending is None else Ending(ending),
    )


def _key_hashes(stored: bytes) -> tuple[bytes, ...]:
    return tuple(stored[at : at + 32] for at in range(0, len(stored), 32))
