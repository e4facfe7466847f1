"""The inventories that gifts move items between. Every function runs in the caller's transaction,
by its cursor.

Invariants:
- A transaction that changes an inventory has locked its player before (`player_lock`): gifts
  together, a pull alone. So while a pull is being committed all items of its player are busy, and
  no wait tells which of them it has drawn.
- No two transactions deadlock over inventories. Those that change several rows either do not wait
  for a row that exists, or lock the rows by player and item in ascending order, as pulls do.
"""

from collections.abc import Collection, Iterator, Mapping

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.gifts import MAX_HOLDING_COUNT
from mesh.postgres.pipelined_cursor import execute_soon
from mesh.postgres.sql_arrays import array_of_plain

Holding = tuple[str, int]
"""A player's id and the id of an item."""

LOCK_TIMEOUT_MS = 200

_IS_FREE = "pg_try_advisory_xact_lock_shared(player_lock(user_id))"
_SELECT_HELD = """
SELECT user_id::text, item_id, inventory.count FROM inventory
JOIN unnest(%s::uuid[], %s::int[]) AS wanted (user_id, item_id) USING (user_id, item_id)
"""
_IN_ORDER = "ORDER BY user_id, item_id FOR UPDATE OF inventory"


def wait_briefly_for_locks(cursor: Cursor) -> None:
    """Sets the transaction's lock timeout to LOCK_TIMEOUT_MS, so that it raises LockTimeout instead
    of waiting long."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_TIMEOUT_MS}ms",))


def lock_free(cursor: Cursor, holdings: Collection[Holding]) -> Mapping[Holding, int]:
    """Locks those that exist and are free, without waiting. Returns how many each has."""
    return _counts(cursor, f"{_SELECT_HELD} WHERE {_IS_FREE} {_IN_ORDER} SKIP LOCKED", holdings)


def wait_for(cursor: Cursor, holdings: Collection[Holding]) -> Mapping[Holding, int]:
    """Locks those that exist. Returns how many each has. Raises LockTimeout."""
    _wait_for_players(cursor, {user_id for user_id, _ in holdings})
    return _counts(cursor, f"{_SELECT_HELD} {_IN_ORDER}", holdings)


def existing(cursor: Cursor, holdings: Collection[Holding]) -> Mapping[Holding, int]:
    """How many each of those has that exist, locked or not."""
    return _counts(cursor, _SELECT_HELD, holdings)


def take(cursor: Cursor, taken: Mapping[Holding, int]) -> None:
    """Takes items out of holdings that are locked and have enough."""
    execute_soon(
        cursor,
        """
        WITH taken AS (
            SELECT * FROM unnest(%s::uuid[], %s::int[], %s::bigint[])
                AS taken (user_id, item_id, count)
        ), emptied AS (
            DELETE FROM inventory USING taken
            WHERE inventory.user_id = taken.user_id AND inventory.item_id = taken.item_id
              AND inventory.count = taken.count
        )
        UPDATE inventory SET count = inventory.count - taken.count FROM taken
        WHERE inventory.user_id = taken.user_id AND inventory.item_id = taken.item_id
          AND inventory.count <> taken.count
        """,
        (*_columns(taken), array_of_plain(taken.values())),
    )


def put(cursor: Cursor, user_id: str, item_id: int, count: int) -> bool:
    """Adds items to one holding; False without a change when it cannot hold them. Raises
    LockTimeout."""
    _wait_for_players(cursor, [user_id])
    cursor.execute(
        """
        INSERT INTO inventory (user_id, item_id, count) VALUES (%s, %s, %s)
        ON CONFLICT (user_id, item_id) DO UPDATE SET count = inventory.count + excluded.count
        WHERE inventory.count + excluded.count <= %s RETURNING 1
        """,
        (user_id, item_id, count, MAX_HOLDING_COUNT),
    )
    return cursor.fetchone() is not None


def put_into_free(cursor: Cursor, gained: Mapping[Holding, int]) -> set[Holding]:
    """Adds items to several holdings, each as a whole or not at all. Returns those that have got
    theirs; the others are locked or cannot hold them. Raises LockTimeout while another
    transaction is creating one of them."""
    # First those that do not exist: a transaction that waits for one holds no others than it has
    # just created, in ascending order.
    cursor.execute(
        f"""
        INSERT INTO inventory (user_id, item_id, count)
        SELECT user_id, item_id, count FROM (
            SELECT *, {_IS_FREE} AS is_free FROM unnest(%s::uuid[], %s::int[], %s::bigint[])
                AS gained (user_id, item_id, count)
        ) AS gained
        WHERE is_free AND NOT EXISTS (
            SELECT FROM inventory
            WHERE (inventory.user_id, inventory.item_id) = (gained.user_id, gained.item_id))
        ORDER BY user_id, item_id ON CONFLICT DO NOTHING RETURNING user_id::text, item_id
        """,  # noqa: S608 (the condition is constant)
        (*_columns(gained), array_of_plain(gained.values())),
    )
    have_got = set(cursor.fetchall())
    left = {holding: count for holding, count in gained.items() if holding not in have_got}
    if left:
        locked = lock_free(cursor, left)
        fitting = {
            holding: left[holding]
            for holding, count in locked.items()
            if count + left[holding] <= MAX_HOLDING_COUNT
        }
        _add(cursor, fitting)
        have_got |= fitting.keys()
    return have_got


def count_held(cursor: Cursor, user_id: str, item_id: int) -> int:
    """How many of the item a player owns."""
    return existing(cursor, [(user_id, item_id)]).get((user_id, item_id), 0)


def _add(cursor: Cursor, gained: Mapping[Holding, int]) -> None:
    """To holdings that are locked."""
    execute_soon(
        cursor,
        """
        UPDATE inventory SET count = inventory.count + gained.count
        FROM unnest(%s::uuid[], %s::int[], %s::bigint[]) AS gained (user_id, item_id, count)
        WHERE inventory.user_id = gained.user_id AND inventory.item_id = gained.item_id
        """,
        (*_columns(gained), array_of_plain(gained.values())),
    )


def _wait_for_players(cursor: Cursor, user_ids: Collection[str]) -> None:
    """In ascending order. The next statement sees what those who held the locks have committed."""
    execute_soon(
        cursor,
        "SELECT pg_advisory_xact_lock_shared(player_lock(user_id)) FROM unnest(%s::uuid[])"
        " AS user_id",
        [array_of_plain(sorted(user_ids))],
    )


def _counts(cursor: Cursor, statement: str, holdings: Collection[Holding]) -> Mapping[Holding, int]:
    cursor.execute(statement, tuple(_columns(holdings)))
    return {(user_id, item_id): count for user_id, item_id, count in cursor.fetchall()}


def _columns(holdings: Collection[Holding]) -> Iterator[str]:
    yield array_of_plain(user_id for user_id, _ in holdings)
    yield array_of_plain(item_id for _, item_id in holdings)
