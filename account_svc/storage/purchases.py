"""Purchases in the account database. Every function takes a cursor whose transaction
is its caller's."""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.purchases import Purchase


def insert_purchase(cursor: Cursor, purchase: Purchase) -> bool:
    """Records a purchase; False when one of that id is there. The player must exist."""
    cursor.execute(
        """
        INSERT INTO purchase (purchase_id, user_id, amount, payment_method)
        VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING purchase_id
        """,
        (purchase.purchase_id, purchase.user_id, purchase.amount_gems, purchase.payment_method),
    )
    return cursor.fetchone() is not None


def find_purchase(cursor: Cursor, purchase_id: str) -> Purchase | None:
    """The purchase of that id."""
    cursor.execute(
        "SELECT purchase_id::text, user_id::text, amount, payment_method"
        " FROM purchase WHERE purchase_id = %s",
        (purchase_id,),
    )
    row = cursor.fetchone()
    return None if row is None else Purchase(*row)
