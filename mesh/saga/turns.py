"""Whose saga is driven next. Every function runs in the transaction of the given cursor; the caller
commits.

Guarantee: owners take turns. Of the sagas that are due, the first one of each owner comes before
the second one of any. An owner has at most `max_of_owner` sagas under way in a process. So one
owner's sagas, however many, slow or old they are, delay another's by one turn.

A query looks at the MAX_LOOKED_AT that have been due longest, of all owners together, so that its
cost is bounded. The turns therefore hold while no more than that many are due. Whoever begins sagas
bounds how many of an owner are under way (`count_under_way`), so one owner alone cannot exceed it;
a crowd of owners can, and then those due longest come first.
"""

from collections.abc import Collection, Mapping, Sequence
from uuid import uuid4

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.pulse import Question
from mesh.saga.definition import Saga
from mesh.saga.rows import RETURNING

MAX_LOOKED_AT = 5000
SCHEMA = """
ALTER TABLE saga ADD COLUMN owner text NOT NULL DEFAULT '';
CREATE INDEX saga_under_way ON saga (owner) WHERE due_at IS NOT NULL;
"""
# ARRAY makes the subquery run once. With IN, a plan may run it for each row of the table. Each
# run would lock up to LIMIT further rows, because SKIP LOCKED skips those already locked.
_LEASE_DUE = """
UPDATE saga SET lease = %s, due_at = now() + make_interval(secs => %s)
WHERE saga_id = ANY(ARRAY(
    SELECT saga_id FROM saga JOIN (
        SELECT saga_id AS next_id, coalesce(driven_count, 0)
            + row_number() OVER (PARTITION BY owner ORDER BY due_at) AS turn
        FROM (
            SELECT saga_id, owner, due_at FROM saga
            WHERE due_at <= now() AND kind = ANY(%s) ORDER BY due_at LIMIT %s
        ) AS due LEFT JOIN unnest(%s::text[], %s::int[]) AS driven (owner, driven_count)
            USING (owner)
    ) AS next ON saga_id = next_id
    WHERE due_at <= now() AND turn <= %s
    ORDER BY turn, due_at LIMIT %s FOR UPDATE OF saga SKIP LOCKED
))
"""


def lease_due(
    cursor: Cursor,
    kinds: Sequence[str],
    limit: int,
    seconds: float,
    *,
    driven: Mapping[str, int],
    max_of_owner: int,
) -> list[Saga]:
    """Leases up to `limit` due sagas for `seconds`, in turns. `driven` says how many sagas of an
    owner this process drives already; with these, it gets no more than `max_of_owner`."""
    cursor.execute(
        f"{_LEASE_DUE} {RETURNING}",
        (
            uuid4().hex,
            seconds,
            list(kinds),
            MAX_LOOKED_AT,
            list(driven),
            list(driven.values()),
            max_of_owner,
            limit,
        ),
    )
    return [Saga(*row) for row in cursor.fetchall()]


def due_question(kinds: Sequence[str]) -> Question:
    """Whether any saga is due."""
    expression = (
        "EXISTS (SELECT FROM saga WHERE due_at <= now() AND kind = ANY(%s))"
        " AND NOT pg_is_in_recovery()"
    )
    return Question(expression, (list(kinds),))


def count_under_way(cursor: Cursor, kind: str, owners: Collection[str]) -> Mapping[str, int]:
    """How many sagas of each owner have neither ended nor been parked; owners without any are
    missing. Other transactions may begin some at the same moment."""
    cursor.execute(
        "SELECT owner, count(*) FROM saga"
        " WHERE owner = ANY(%s) AND kind = %s AND due_at IS NOT NULL GROUP BY owner",
        (list(owners), kind),
    )
    return dict(cursor.fetchall())
