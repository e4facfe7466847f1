"""Failed attempts to log in, in the account database.

Every function runs in the caller's transaction, by its cursor. Rows are locked in the order of
their keys, so that transactions cannot deadlock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)
from psycopg2.extras import execute_values

from account_svc.domain.login_attempts import CLEAR, FORGET_SECONDS, Key, Standing


@dataclass(frozen=True, slots=True)
class Row:
    """The stored row of a subject. `known_until` is in seconds since 1970; 0 unless the subject
    is a pair that has logged in."""

    standing: Standing = CLEAR
    known_until: float = 0.0


def find(cursor: Cursor, keys: Iterable[Key]) -> Mapping[Key, Row]:
    """The rows of those subjects that are stored."""
    execute_values(
        cursor,
        """
        SELECT
            account_hash, address_hash, failure_count,
            extract(epoch FROM last_failed_at)::float8, extract(epoch FROM known_until)::float8
        FROM login_attempt WHERE (account_hash, address_hash) IN (VALUES %s)
        """,
        _values(keys),
        page_size=_ALL,
    )
    return _rows(cursor)


def lock(cursor: Cursor, keys: Iterable[Key]) -> Mapping[Key, Row]:
    """The rows of all subjects, locked until the transaction ends. It commits asynchronously."""
    cursor.execute("SET LOCAL synchronous_commit = off")
    execute_values(
        cursor,
        """
        INSERT INTO login_attempt (account_hash, address_hash) VALUES %s
        ON CONFLICT (account_hash, address_hash)
        DO UPDATE SET failure_count = login_attempt.failure_count
        RETURNING
            account_hash, address_hash, failure_count,
            extract(epoch FROM last_failed_at)::float8, extract(epoch FROM known_until)::float8
        """,
        _values(sorted(keys)),
        page_size=_ALL,
    )
    return _rows(cursor)


def save(cursor: Cursor, rows: Mapping[Key, Row]) -> None:
    """Stores the rows of locked subjects."""
    execute_values(
        cursor,
        """
        UPDATE login_attempt SET
            failure_count = new.failure_count,
            last_failed_at = to_timestamp(new.last_failed_at),
            known_until = to_timestamp(new.known_until),
            forget_at = to_timestamp(new.forget_at)
        FROM (VALUES %s) AS new (
            account_hash, address_hash, failure_count, last_failed_at, known_until, forget_at
        )
        WHERE login_attempt.account_hash = new.account_hash
            AND login_attempt.address_hash = new.address_hash
        """,
        [
            (
                key.account_hash,
                key.address_hash,
                row.standing.failure_count,
                row.standing.last_failed_at,
                row.known_until,
                _forget_at(row),
            )
            for key, row in rows.items()
        ],
        template="(%s::bytea, %s::bytea, %s, %s::float8, %s::float8, %s::float8)",
        page_size=_ALL,
    )


def delete_old(cursor: Cursor, now: float, limit: int) -> int:
    """Deletes up to `limit` expired rows, and returns how many. Skips locked rows, so it
    never waits."""
    cursor.execute(
        """
        DELETE FROM login_attempt USING (
            SELECT account_hash, address_hash FROM login_attempt
            WHERE forget_at < to_timestamp(%s) ORDER BY forget_at LIMIT %s
            FOR UPDATE SKIP LOCKED
        ) AS old
        WHERE login_attempt.account_hash = old.account_hash
            AND login_attempt.address_hash = old.address_hash
        """,
        (now, limit),
    )
    return cursor.rowcount


_ALL = 1000
"""More rows than these calls ever pass, so that each is one statement."""


def _values(keys: Iterable[Key]) -> list[tuple[bytes, bytes]]:
    return [(key.account_hash, key.address_hash) for key in keys]


def _rows(cursor: Cursor) -> Mapping[Key, Row]:
    return {
        Key(bytes(account_hash), bytes(address_hash)): Row(Standing(count, failed_at), known_until)
        for account_hash, address_hash, count, failed_at, known_until in cursor.fetchall()
    }


def _forget_at(row: Row) -> float:
    failures_until = (
        row.standing.last_failed_at + FORGET_SECONDS if row.standing.failure_count else 0.0
    )
    return max(failures_until, row.known_until)
