"""Gifts in the gacha database, and the inventories that they move items between.

Every function runs in the caller's transaction, by its cursor. A function that changes an
inventory locks a single row, so that they cannot deadlock. A pull that is being committed may
hold the row; they then wait no longer than the lock timeout.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Item
from gacha_svc.domain.gifts import MAX_HOLDING_COUNT, Gift, GiftRecord, GiftState, Player
from gacha_svc.domain.rarities import Rarity
from mesh.postgres.sql_arrays import array_of_plain

LOCK_TIMEOUT = "200ms"
MAX_NUMBER = 2**63 - 1
"""Above every gift's number."""


def wait_briefly_for_locks(cursor: Cursor) -> None:
    """Sets the transaction's lock timeout, so that it raises LockTimeout instead of waiting
    long."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))


def take_items(cursor: Cursor, user_id: str, item_id: int, count: int) -> bool:
    """Takes items out of an inventory; False without a change when it holds fewer."""
    cursor.execute(
        "SELECT count FROM inventory WHERE user_id = %s AND item_id = %s FOR UPDATE",
        (user_id, item_id),
    )
    row = cursor.fetchone()
    if row is None or row[0] < count:
        return False
    if row[0] == count:
        cursor.execute(
            "DELETE FROM inventory WHERE user_id = %s AND item_id = %s", (user_id, item_id)
        )
    else:
        cursor.execute(
            "UPDATE inventory SET count = count - %s WHERE user_id = %s AND item_id = %s",
            (count, user_id, item_id),
        )
    return True


def put_items(cursor: Cursor, user_id: str, item_id: int, count: int) -> bool:
    """Adds items to an inventory; False without a change when it cannot hold them."""
    cursor.execute(
        """
        INSERT INTO inventory (user_id, item_id, count) VALUES (%s, %s, %s)
        ON CONFLICT (user_id, item_id) DO UPDATE SET count = inventory.count + excluded.count
        WHERE inventory.count + excluded.count <= %s RETURNING 1
        """,
        (user_id, item_id, count, MAX_HOLDING_COUNT),
    )
    return cursor.fetchone() is not None


def count_held(cursor: Cursor, user_id: str, item_id: int) -> int:
    """How many of the item a player owns."""
    cursor.execute(
        "SELECT count FROM inventory WHERE user_id = %s AND item_id = %s", (user_id, item_id)
    )
    row = cursor.fetchone()
    return 0 if row is None else int(row[0])


def find_item(cursor: Cursor, item_id: int) -> Item | None:
    """The item as the catalog has it now, or had it last."""
    cursor.execute("SELECT name, rarity FROM item WHERE item_id = %s", (item_id,))
    row = cursor.fetchone()
    return None if row is None else Item(id=item_id, name=row[0], rarity=Rarity(row[1]))


def insert_gift(cursor: Cursor, gift: Gift, item: Item) -> bool:
    """Records a requested gift, with its item as it is now; False when its intent has a gift
    already."""
    cursor.execute(
        """
        INSERT INTO gift (gift_id, intent_id, sender_id, sender_name,
                          receiver_id, receiver_name, item_id, count, fee, item_name, item_rarity)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING RETURNING 1
        """,
        (
            gift.gift_id,
            gift.intent_id,
            gift.sender.user_id,
            gift.sender.username,
            gift.receiver.user_id,
            gift.receiver.username,
            gift.item_id,
            gift.count,
            gift.fee_gems,
            item.name,
            item.rarity,
        ),
    )
    return cursor.fetchone() is not None


def insert_outcome(cursor: Cursor, gift_id: str, reason: str) -> bool:
    """Records a gift's outcome: returned if there is a reason, else delivered. False when it has
    ended before."""
    cursor.execute(
        "INSERT INTO gift_outcome (gift_id, delivered, reason, sender_id, receiver_id, number)"
        " SELECT gift_id, %s, %s, sender_id, receiver_id, number FROM gift WHERE gift_id = %s"
        " ON CONFLICT DO NOTHING RETURNING 1",
        (not reason, reason, gift_id),
    )
    return cursor.fetchone() is not None


def seconds_until_admitted(
    cursor: Cursor, sender_id: str, refused_count: int, window_seconds: float
) -> float:
    """Seconds until fewer than `refused_count` gifts of the sender were refused within the
    window; 0 if that is so now."""
    cursor.execute(
        """
        SELECT extract(epoch FROM created_at - now())::float8 + %s FROM gift_outcome
        WHERE sender_id = %s AND NOT delivered
          AND created_at > now() - make_interval(secs => %s)
        ORDER BY created_at DESC OFFSET %s LIMIT 1
        """,
        (window_seconds, sender_id, window_seconds, refused_count - 1),
    )
    row = cursor.fetchone()
    return 0.0 if row is None else float(row[0])


def forget_refused(cursor: Cursor, age: timedelta, max_count: int) -> int:
    """Removes up to `max_count` gifts that were refused longer ago than `age`, which is a day at
    least. Returns how many."""
    cursor.execute("SELECT forget_refused_gifts(%s, %s)", (age, max_count))
    (removed_count,) = cursor.fetchone() or (0,)
    return int(removed_count)


_SELECT_GIFT = """
SELECT gift.number, gift_id::text, gift.intent_id::text,
       gift.sender_id::text, gift.sender_name, gift.receiver_id::text, gift.receiver_name,
       gift.item_id, gift.count, gift.fee, gift.item_name, gift.item_rarity,
       gift_outcome.delivered, coalesce(gift_outcome.reason, ''), gift.created_at
FROM gift LEFT JOIN gift_outcome USING (gift_id)
"""


def find_gifts(cursor: Cursor, gift_ids: Collection[str]) -> Mapping[str, GiftRecord]:
    """The gifts of those ids that exist."""
    cursor.execute(f"{_SELECT_GIFT} WHERE gift_id = ANY(%s::uuid[])", (array_of_plain(gift_ids),))
    return {record.gift.gift_id: record for record in _records(cursor)}


def find_by_intent(cursor: Cursor, intent_id: str) -> GiftRecord | None:
    """The gift of an intent, if it has one."""
    return find_by_intents(cursor, [intent_id]).get(intent_id)


def find_by_intents(cursor: Cursor, intent_ids: Collection[str]) -> Mapping[str, GiftRecord]:
    """The gifts of those intents that have one, by intent."""
    cursor.execute(
        f"{_SELECT_GIFT} WHERE intent_id = ANY(%s::uuid[])",
        (array_of_plain(intent_ids),),
    )
    return {record.gift.intent_id: record for record in _records(cursor)}


def list_gifts(cursor: Cursor, user_id: str, before: int | None, limit: int) -> list[GiftRecord]:
    """The gifts that a player sent or received, below the number `before`, newest first."""
    below = MAX_NUMBER if before is None else before
    # Merges two lists from two indexes, and reads no more gifts than are shown. A condition with
    # OR would read all gifts of the player, and one on the outcome after a join all that were
    # ever sent to the player.
    cursor.execute(
        """
        SELECT gift_id::text FROM (
            (SELECT gift_id, number FROM gift WHERE sender_id = %s AND number < %s
             ORDER BY number DESC LIMIT %s)
            UNION ALL
            (SELECT gift_id, number FROM gift_outcome
             WHERE receiver_id = %s AND number < %s AND delivered
             ORDER BY number DESC LIMIT %s)
        ) AS own ORDER BY number DESC LIMIT %s
        """,
        (user_id, below, limit, user_id, below, limit, limit),
    )
    gift_ids = [gift_id for (gift_id,) in cursor.fetchall()]
    cursor.execute(
        f"{_SELECT_GIFT} WHERE gift_id = ANY(%s::uuid[]) ORDER BY gift.number DESC", (gift_ids,)
    )
    return _records(cursor)


def _records(cursor: Cursor) -> list[GiftRecord]:
    return [
        GiftRecord(
            number,
            Gift(
                gift_id,
                intent_id,
                Player(sender_id, sender),
                Player(receiver_id, receiver),
                item_id,
                count,
                fee,
            ),
            Item(id=item_id, name=name, rarity=Rarity(rarity)),
            _STATES[delivered],
            reason,
            created_at,
        )
        for (
            number,
            gift_id,
            intent_id,
            sender_id,
            sender,
            receiver_id,
            receiver,
            item_id,
            count,
            fee,
            name,
            rarity,
            delivered,
            reason,
            created_at,
        ) in cursor.fetchall()
    ]


_STATES = {None: GiftState.PENDING, True: GiftState.DELIVERED, False: GiftState.RETURNED}
