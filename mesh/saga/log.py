"""The rows of sagas, and who may move them. Every function takes a cursor whose transaction
is its caller's.

Invariant: a saga is moved only by the holder of its lease, from the state that the holder
has seen, so that of all who try at the same moment one succeeds. A lease is a name that is
given once and a time until which nobody else takes the saga; `due_at` is that time, and
also when a saga that nobody holds is to be tried next. It is NULL where there is nothing
to do: at the end, and while a saga is parked for a person. Who wakes a saga that is held
leaves `is_woken` there, and then it is due as soon as it is given back.

Rows are kept. They are small, and what a request did is told from them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import Aborted
from mesh.saga.definition import Saga

SCHEMA = """
CREATE TABLE saga (
    saga_id       uuid PRIMARY KEY,
    kind          text NOT NULL,
    state         text NOT NULL,
    body          jsonb NOT NULL,
    attempt_count integer NOT NULL DEFAULT 0 CHECK (attempt_count >= 0),
    reason        text NOT NULL DEFAULT '',
    lease         text NOT NULL DEFAULT '',
    due_at        timestamptz,
    is_parked     boolean NOT NULL DEFAULT false,
    is_woken      boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    txid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT saga_parked_is_not_due CHECK (NOT is_parked OR due_at IS NULL)
);
CREATE INDEX saga_due ON saga (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX saga_parked ON saga (updated_at) WHERE is_parked;
"""

_INSERT = """
INSERT INTO saga (saga_id, kind, state, body, lease, due_at)
VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s))
ON CONFLICT (saga_id) DO NOTHING
RETURNING saga_id::text, kind, state, body, attempt_count, reason, lease, is_parked
"""
# ARRAY has the selection run once. Under IN a plan may run it for each row of the table, and
# then every run takes its limit anew, for what was taken before is skipped.
_LEASE_DUE = """
UPDATE saga SET lease = %s, due_at = now() + make_interval(secs => %s)
WHERE saga_id = ANY(ARRAY(
    SELECT saga_id FROM saga WHERE due_at <= now() AND kind = ANY(%s)
    ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
))
RETURNING saga_id::text, kind, state, body, attempt_count, reason, lease, is_parked
"""
_MOVE = """
UPDATE saga SET state = %s, body = body || %s, attempt_count = 0, reason = '',
    due_at = now() + make_interval(secs => %s), is_woken = false, updated_at = now(),
    txid = pg_current_xact_id()
WHERE saga_id = %s AND state = %s AND lease = %s AND due_at IS NOT NULL
RETURNING saga_id::text, kind, state, body, attempt_count, reason, lease, is_parked
"""
_SELECT = """
SELECT saga_id::text, kind, state, body, attempt_count, reason, lease, is_parked FROM saga
"""
MAX_LISTED = 1000


class LeaseLost(Aborted):
    """Somebody else drives the saga now; nothing was changed."""

    REASON = "SAGA_LEASE_LOST"


def insert(
    cursor: Cursor, saga_id: str, kind: str, state: str, body: Mapping[str, Any], seconds: float
) -> Saga | None:
    """A new saga, leased for so long; None when there is one of that id."""
    cursor.execute(
        _INSERT,
        (saga_id, kind, state, json.dumps(body), uuid4().hex, seconds),
    )
    return _first(cursor)


def find(cursor: Cursor, saga_id: str) -> Saga | None:
    """The saga of that id."""
    cursor.execute(f"{_SELECT} WHERE saga_id = %s", (saga_id,))
    return _first(cursor)


def lease_due(cursor: Cursor, kinds: Sequence[str], limit: int, seconds: float) -> list[Saga]:
    """Takes sagas that are due and that nobody holds, the longest due first."""
    cursor.execute(
        _LEASE_DUE,
        (uuid4().hex, seconds, list(kinds), limit),
    )
    return [Saga(*row) for row in cursor.fetchall()]


def move(
    cursor: Cursor, saga: Saga, state: str, remember: Mapping[str, Any], seconds: float | None
) -> Saga:
    """Moves a saga on, and keeps it leased for so long; None ends it. Raises LeaseLost."""
    cursor.execute(
        _MOVE,
        (state, json.dumps(remember), seconds, saga.saga_id, saga.state, saga.lease),
    )
    moved = _first(cursor)
    if moved is None:
        raise LeaseLost("Somebody else drives this now.")
    return moved


def postpone(
    cursor: Cursor, saga: Saga, reason: str, attempt_count: int, seconds: float | None
) -> bool:
    """Gives a saga back, to be tried again so much later, or at once if somebody has woken
    it meanwhile; None parks it. False when the lease was lost, and nothing was changed."""
    cursor.execute(
        """
        UPDATE saga SET attempt_count = %s, reason = %s, lease = '', is_woken = false,
            due_at = now() + make_interval(secs => %s::float8) * (NOT is_woken)::integer,
            is_parked = %s, updated_at = now()
        WHERE saga_id = %s AND state = %s AND lease = %s AND due_at IS NOT NULL
        """,
        (
            attempt_count,
            reason,
            seconds,
            seconds is None,
            saga.saga_id,
            saga.state,
            saga.lease,
        ),
    )
    return cursor.rowcount == 1


def wake(cursor: Cursor, saga_id: str) -> bool:
    """Makes a saga due now, or as soon as whoever holds it gives it back; False when it has
    ended, is parked, or never was."""
    cursor.execute(
        "UPDATE saga SET is_woken = lease <> '',"
        " due_at = CASE WHEN lease = '' THEN now() ELSE due_at END"
        " WHERE saga_id = %s AND due_at IS NOT NULL",
        (saga_id,),
    )
    return cursor.rowcount == 1


def retry(cursor: Cursor, saga_id: str) -> bool:
    """Unparks a saga; False when it is not parked."""
    cursor.execute(
        "UPDATE saga SET is_parked = false, attempt_count = 0, due_at = now()"
        " WHERE saga_id = %s AND is_parked",
        (saga_id,),
    )
    return cursor.rowcount == 1


def list_open(cursor: Cursor) -> list[Saga]:
    """Those that have not ended, the parked ones first and then the longest untouched; at
    most MAX_LISTED."""
    cursor.execute(
        f"{_SELECT} WHERE is_parked OR due_at IS NOT NULL"
        " ORDER BY is_parked DESC, updated_at LIMIT %s",
        (MAX_LISTED,),
    )
    return [Saga(*row) for row in cursor.fetchall()]


def _first(cursor: Cursor) -> Saga | None:
    row = cursor.fetchone()
    return None if row is None else Saga(*row)
