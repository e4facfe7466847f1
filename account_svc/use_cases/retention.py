"""What the service forgets: declined purchases, refused fees and ended sagas, after a time.

Within that time a repeated key gets its first answer. What moved money is kept, so its key is
answered for ever.
"""

from datetime import timedelta

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.storage import gift_fees, purchases
from mesh.postgres.database import Database
from mesh.postgres.retention import Retention
from mesh.saga.retention import forget_ended_sagas


def retention_of(database: Database, *, refused: timedelta, ended_sagas: timedelta) -> Retention:
    """Removes purchases and fees that were refused longer ago than `refused`, and sagas that
    ended longer ago than `ended_sagas`."""

    def forget_purchases(cursor: Cursor, max_count: int) -> int:
        return purchases.forget_declined(cursor, refused, max_count)

    def forget_fees(cursor: Cursor, max_count: int) -> int:
        return gift_fees.forget_refused(cursor, refused, max_count)

    def forget_sagas(cursor: Cursor, max_count: int) -> int:
        return forget_ended_sagas(cursor, ended_sagas, max_count)

    return Retention(database, (forget_purchases, forget_fees, forget_sagas))
