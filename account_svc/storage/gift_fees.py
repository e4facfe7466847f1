"""Fees for gifts in the account database. Every function runs in the caller's transaction, by
its cursor."""

from collections.abc import Collection, Mapping
from datetime import timedelta

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.gift_fees import GiftFee, Payer, StoredGiftFee
from mesh.postgres.sql_arrays import array_of_plain, array_of_text


def insert_gift_fees(
    cursor: Cursor, fees: Collection[GiftFee], refusals: Mapping[str, str]
) -> bool:
    """Records the outcomes of fees; those without a refusal, by id, were taken. False when one of
    the ids is stored already."""
    cursor.execute(
        """
        INSERT INTO gift_fee (fee_id, user_id, amount, refusal)
        SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::text[])
            AS decided (fee_id) ORDER BY fee_id
        ON CONFLICT DO NOTHING
        """,
        (
            array_of_plain(fee.fee_id for fee in fees),
            array_of_plain(fee.user_id for fee in fees),
            array_of_plain(fee.amount_gems for fee in fees),
            array_of_text([refusals.get(fee.fee_id, "") for fee in fees]),
        ),
    )
    return cursor.rowcount == len(fees)


def find_gift_fees(cursor: Cursor, fee_ids: Collection[str]) -> Mapping[str, StoredGiftFee]:
    """The stored fees of those ids."""
    cursor.execute(
        """
        SELECT fee_id::text, user_id::text, amount, refusal, refund_id IS NOT NULL
        FROM gift_fee LEFT JOIN gift_fee_refund USING (fee_id) WHERE fee_id = ANY(%s::uuid[])
        """,
        (array_of_plain(fee_ids),),
    )
    return {
        fee_id: StoredGiftFee(GiftFee(fee_id, user_id, amount_gems), refusal, is_refunded)
        for fee_id, user_id, amount_gems, refusal, is_refunded in cursor.fetchall()
    }


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
