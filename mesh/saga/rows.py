"""The rows of sagas, and their leases. Every function runs in the transaction of the given
cursor; the caller commits.

Invariant: only the holder of its lease moves a saga, and only from the state that the holder
has read. If several try at the same moment, one succeeds. A lease is a unique name and the
time `due_at` until which no other process takes the saga. For a saga without a lease, `due_at`
is the time of its next attempt. It is NULL if there is nothing to do: at the end, and while the
saga is parked for a person. Waking a leased saga sets `is_woken`; the saga is then due as soon
as it is postponed.

`mesh.saga.turns` leases the sagas that are due. `mesh.saga.retention` removes rows long after their
end.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from uuid import uuid4

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import Aborted
from mesh.saga.definition import Definition, NewSaga, Saga, Transition

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

_COLUMNS = "saga_id::text, kind, owner, state, body, attempt_count, reason, lease, is_parked"
"""Of a row, in the order of the fields of Saga."""
RETURNING = f"RETURNING {_COLUMNS}"
_SELECT = f"SELECT {_COLUMNS} FROM saga"  # noqa: S608 (the columns are constant)
_INSERT = """
INSERT INTO saga (saga_id, kind, owner, state, body, lease, due_at)
SELECT saga_id, %s, owner, %s, body, %s, now() + make_interval(secs => %s)
FROM unnest(%s::uuid[], %s::text[], %s::jsonb[]) AS begun (saga_id, owner, body) ORDER BY saga_id
ON CONFLICT (saga_id) DO NOTHING
"""
# The rows are locked in one order, because transactions of other processes lock several too.
_MOVE_ALL = """
WITH held AS MATERIALIZED (
    SELECT saga_id AS held_id, next_state, remember FROM saga
    JOIN unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::jsonb[])
        AS moved (moved_id, state_before, lease_before, next_state, remember)
      ON saga_id = moved_id AND state = state_before AND lease = lease_before
    WHERE due_at IS NOT NULL ORDER BY saga_id FOR UPDATE OF saga
)
UPDATE saga SET state = next_state, body = body || remember, attempt_count = 0,
    reason = '', is_woken = false, updated_at = now(), txid = pg_current_xact_id(),
    due_at = CASE WHEN next_state = ANY(%s) THEN NULL
        ELSE coalesce(now() + make_interval(secs => %s), due_at) END
FROM held WHERE saga_id = held_id
"""
_POSTPONE = """
UPDATE saga SET attempt_count = %s, reason = %s, lease = '', is_woken = false,
    due_at = CASE WHEN is_woken THEN now() ELSE now() + make_interval(secs => %s) END,
    is_parked = %s AND NOT is_woken, updated_at = now()
WHERE saga_id = %s AND state = %s AND lease = %s AND due_at IS NOT NULL
"""
_WAKE = """
WITH woken AS MATERIALIZED (
    SELECT saga_id AS woken_id FROM saga
    WHERE saga_id = ANY(%s::uuid[]) AND due_at IS NOT NULL
      AND (%s::text[] IS NULL OR state = ANY(%s)) ORDER BY saga_id FOR UPDATE
)
UPDATE saga SET is_woken = lease <> '', due_at = CASE WHEN lease = '' THEN now() ELSE due_at END
FROM woken WHERE saga_id = woken_id RETURNING saga_id::text
"""
MAX_LISTED_SAGAS = 1000


class LeaseLost(Aborted):
    """Another process drives the saga now; nothing was changed."""

    REASON = "SAGA_LEASE_LOST"


def insert(
    cursor: Cursor, kind: str, state: str, new: Sequence[NewSaga], seconds: float | None
) -> Mapping[str, Saga]:
    """Inserts sagas, leased for `seconds`; None leaves them without a lease and due now. Returns
    those that were inserted, by id; the others exist already."""
    lease = "" if seconds is None else uuid4().hex
    cursor.execute(
        f"{_INSERT} {RETURNING}",
        (
            kind,
            state,
            lease,
            seconds or 0.0,
            [each.saga_id for each in new],
            [each.owner for each in new],
            [json.dumps(each.body) for each in new],
        ),
    )
    return {saga.saga_id: saga for saga in (Saga(*row) for row in cursor.fetchall())}


def find(cursor: Cursor, saga_id: str) -> Saga | None:
    """The saga with that id; None if there is none."""
    cursor.execute(f"{_SELECT} WHERE saga_id = %s", (saga_id,))
    return _first(cursor)


def move(
    cursor: Cursor,
    definition: Definition,
    transition: Transition,
    *,
    lease_seconds: float | None = None,
) -> Saga:
    """As `move_all`, for one saga. Raises LeaseLost."""
    moved = move_all(cursor, definition, [transition], lease_seconds=lease_seconds)
    return moved_or_lost(moved, transition.saga)


def move_all(
    cursor: Cursor,
    definition: Definition,
    transitions: Sequence[Transition],
    *,
    lease_seconds: float | None = None,
) -> Mapping[str, Saga]:
    """Moves sagas of that definition to their next states, and ends those that are at an end.
    Renews the leases of the others for `lease_seconds`; None keeps them as they are.

    Returns the moved sagas by id. The others are missing: their drivers have lost the leases, or
    they are in another state. Asserts that the definition allows each move.
    """
    for each in transitions:
        definition.check_move(each.saga.state, each.state)
    cursor.execute(
        f"{_MOVE_ALL} {RETURNING}",
        (
            [each.saga.saga_id for each in transitions],
            [each.saga.state for each in transitions],
            [each.saga.lease for each in transitions],
            [each.state for each in transitions],
            [json.dumps(each.remember) for each in transitions],
            list(definition.ends),
            lease_seconds,
        ),
    )
    moved = [Saga(*row) for row in cursor.fetchall()]
    return {saga.saga_id: saga for saga in moved}


def moved_or_lost(moved: Mapping[str, Saga], saga: Saga) -> Saga:
    """Of the moved sagas, the one that the driver of `saga` has moved. Raises LeaseLost."""
    after = moved.get(saga.saga_id)
    if after is None or after.lease != saga.lease:
        raise LeaseLost("Another process drives this saga now.")
    return after


def hold(cursor: Cursor, sagas: Sequence[Saga]) -> Mapping[str, str]:
    """Locks the sagas whose leases their drivers still hold, until the transaction ends. Returns
    the leases by saga id: only the drivers of these leases can move the sagas."""
    cursor.execute(
        """
        SELECT saga.saga_id::text, saga.lease FROM saga
        JOIN unnest(%s::uuid[], %s::text[], %s::text[]) AS held (saga_id, state, lease)
          ON saga.saga_id = held.saga_id
         AND saga.state = held.state AND saga.lease = held.lease
        WHERE due_at IS NOT NULL ORDER BY saga.saga_id FOR UPDATE OF saga
        """,
        (
            [saga.saga_id for saga in sagas],
            [saga.state for saga in sagas],
            [saga.lease for saga in sagas],
        ),
    )
    return dict(cursor.fetchall())


def postpone(
    cursor: Cursor, saga: Saga, reason: str, attempt_count: int, seconds: float | None
) -> Saga | None:
    """Ends the lease. The saga is due in `seconds`, or at once if it was woken; None parks it,
    unless it was woken. Returns the saga, or None if the lease was lost and nothing was changed."""
    cursor.execute(
        f"{_POSTPONE} {RETURNING}",
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
    return _first(cursor)


def wake(
    cursor: Cursor, saga_ids: Collection[str], states: Sequence[str] | None = None
) -> set[str]:
    """Makes sagas due now, or as soon as they are postponed, if they are in one of the states;
    None means in any. Returns their ids. Those that have ended, are parked, or do not exist are
    missing."""
    cursor.execute(_WAKE, (list(saga_ids), states, states))
    return {saga_id for (saga_id,) in cursor.fetchall()}


def retry(cursor: Cursor, saga_id: str) -> bool:
    """Unparks a saga. Returns False if it is not parked."""
    cursor.execute(
        "UPDATE saga SET is_parked = false, attempt_count = 0, due_at = now()"
        " WHERE saga_id = %s AND is_parked",
        (saga_id,),
    )
    return cursor.rowcount == 1


def list_open(cursor: Cursor) -> list[Saga]:
    """The sagas that have not ended: parked ones first, then the least recently updated; at
    most MAX_LISTED_SAGAS."""
    cursor.execute(
        f"{_SELECT} WHERE is_parked OR due_at IS NOT NULL"
        " ORDER BY is_parked DESC, updated_at LIMIT %s",
        (MAX_LISTED_SAGAS,),
    )
    return [Saga(*row) for row in cursor.fetchall()]


def _first(cursor: Cursor) -> Saga | None:
    row = cursor.fetchone()
    return None if row is None else Saga(*row)
