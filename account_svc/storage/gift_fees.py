"""Fees for gifts in the account database. Every function runs in the caller's transaction, by
its cursor."""

from collections.abc import Collection
from datetime import timedelta

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.gift_fees import GiftFee, Payer, StoredGiftFee


def insert_gift_fee(cursor: Cursor, fee: GiftFee, refusal: str) -> bool:
    """Records the outcome of a fee; False when the id is already stored."""
    cursor.execute(
        """
        INSERT INTO gift_fee (fee_id, user_id, amount, refusal)
        VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING fee_id
        """,
        (fee.fee_id, fee.user_id, fee.amount_gems, refusal),
    )
    return cursor.fetchone() is not None


def find_gift_fee(cursor: Cursor, fee_id: str) -> StoredGiftFee | None:
    """The fee of that id."""
    cursor.execute(
        """
        SELECT fee_id::text, user_id::text, amount, refusal, refund_id IS NOT NULL
        FROM gift_fee LEFT JOIN gift_fee_refund USING (fee_id) WHERE fee_id = %s
        """,
        (fee_id,),
    )
    row = cursor.fetchone()
    return None if row is None else StoredGiftFee(GiftFee(*row[:3]), row[3], row[4])


def insert_gift_fee_refund(cursor: Cursor, fee_id: str, refund_id: str) -> None:
    """Records a refund. The fee must not be refunded yet."""
    cursor.execute(
        "INSERT INTO gift_fee_refund (fee_id, refund_id) VALUES (%s, %s)", (fee_id, refund_id)
    )


def find_payers(
    cursor: Cursor, username_keys: Collection[str], user_ids: Collection[str]
) -> list[Payer]:
    """The players with those lower-cased names, and those with those ids, with what they own."""
    cursor.execute(
        "SELECT user_id::text, username, balance, debt FROM player JOIN wallet USING (user_id)"
        " WHERE username_key = ANY(%s) OR user_id = ANY(%s::uuid[])",
        (list(username_keys), list(user_ids)),
    )
    return [Payer(*row) for row in cursor.fetchall()]


def forget_refused(cursor: Cursor, age: timedelta, max_count: int) -> int:
    """Removes up to `max_count` fees that were refused longer ago than `age`, which is a day at
    least. Returns how many."""
    cursor.execute("SELECT forget_refused_gift_fees(%s, %s)", (age, max_count))
    (removed_count,) = cursor.fetchone() or (0,)
    return int(removed_count)
