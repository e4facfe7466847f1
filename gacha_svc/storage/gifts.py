"""Gifts in the gacha database. Every function runs in the caller's transaction, by its cursor."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Item
from gacha_svc.domain.gifts import Gift, GiftRecord, GiftState, Player
from gacha_svc.domain.rarities import Rarity
from mesh.postgres.pipelined_cursor import execute_soon
from mesh.postgres.sql_arrays import array_of_plain, array_of_text

MAX_NUMBER = 2**63 - 1
"""Above every gift's number."""


def find_items(cursor: Cursor, item_ids: Collection[int]) -> Mapping[int, Item]:
    """Those that exist, as the catalog has them now, or had them last."""
    cursor.execute(
        "SELECT item_id, name, rarity FROM item WHERE item_id = ANY(%s::int[])",
        (array_of_plain(item_ids),),
    )
    return {
        item_id: Item(id=item_id, name=name, rarity=Rarity(rarity))
        for item_id, name, rarity in cursor.fetchall()
    }


def insert_gifts(
    cursor: Cursor, gifts: Sequence[Gift], items: Mapping[int, Item]
) -> Sequence[GiftRecord]:
    """Records requested gifts, with their items as they are now. Returns those that were recorded
    now; the intents of the others have a gift already. Transactions that record the same
    gifts wait for one another, in one order."""
    cursor.execute(
        """
        INSERT INTO gift (gift_id, intent_id, sender_id, sender_name,
                          receiver_id, receiver_name, item_id, count, fee, item_name, item_rarity)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::uuid[],
                             %s::text[], %s::int[], %s::int[], %s::bigint[], %s::text[], %s::text[])
            AS requested (gift_id, intent_id) ORDER BY intent_id
        ON CONFLICT DO NOTHING RETURNING gift_id::text, number, created_at
        """,
        (
            array_of_plain(gift.gift_id for gift in gifts),
            array_of_plain(gift.intent_id for gift in gifts),
            array_of_plain(gift.sender.user_id for gift in gifts),
            array_of_text([gift.sender.username for gift in gifts]),
            array_of_plain(gift.receiver.user_id for gift in gifts),
            array_of_text([gift.receiver.username for gift in gifts]),
            array_of_plain(gift.item_id for gift in gifts),
            array_of_plain(gift.count for gift in gifts),
            array_of_plain(gift.fee_gems for gift in gifts),
            array_of_text([items[gift.item_id].name for gift in gifts]),
            array_of_text([items[gift.item_id].rarity for gift in gifts]),
        ),
    )
    by_id = {gift.gift_id: gift for gift in gifts}
    return [
        GiftRecord(number, gift, items[gift.item_id], GiftState.PENDING, "", created_at)
        for gift_id, number, created_at in cursor.fetchall()
        for gift in (by_id[gift_id],)
    ]


def insert_outcome(cursor: Cursor, gift_id: str, reason: str) -> None:
    """Records a gift's outcome: returned if there is a reason, else delivered."""
    insert_outcomes(cursor, [gift_id], reason)


def insert_outcomes(cursor: Cursor, gift_ids: Collection[str], reason: str) -> None:
    """As `insert_outcome`, for several gifts. Those that have ended before keep their outcomes."""
    execute_soon(
        cursor,
        "INSERT INTO gift_outcome (gift_id, delivered, reason, sender_id, receiver_id, number)"
        " SELECT gift_id, %s, %s, sender_id, receiver_id, number FROM gift"
        " WHERE gift_id = ANY(%s::uuid[]) ON CONFLICT DO NOTHING",
        (not reason, reason, array_of_plain(gift_ids)),
    )


def seconds_until_admitted(
    cursor: Cursor, sender_ids: Collection[str], refused_count: int, window_seconds: float
) -> Mapping[str, float]:
    """Seconds until fewer than `refused_count` gifts of each sender were refused within the
    window; senders of whom that is so now are missing."""
    cursor.execute(
        """
        SELECT sender_id::text, extract(epoch FROM refused_at - now())::float8 + %s
        FROM unnest(%s::uuid[]) AS sender (sender_id), LATERAL (
            SELECT created_at AS refused_at FROM gift_outcome
            WHERE gift_outcome.sender_id = sender.sender_id AND NOT delivered
              AND created_at > now() - make_interval(secs => %s)
            ORDER BY created_at DESC OFFSET %s LIMIT 1
        ) AS last
        """,
        (window_seconds, array_of_plain(sender_ids), window_seconds, refused_count - 1),
    )
    return dict(cursor.fetchall())


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


def find_by_intents(cursor: Cursor, intent_ids: Collection[str]) -> Mapping[str, GiftRecord]:
    """The gifts of those intents that have one, by intent."""
    # Most intents are new. To plan the join costs more than to see that nothing is stored.
    cursor.execute(
        "SELECT intent_id::text FROM gift WHERE intent_id = ANY(%s::uuid[])",
        (array_of_plain(intent_ids),),
    )
    stored = {intent_id for (intent_id,) in cursor.fetchall()}
    if not stored:
        return {}
    cursor.execute(f"{_SELECT_GIFT} WHERE intent_id = ANY(%s::uuid[])", (array_of_plain(stored),))
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
