"""What the service forgets: refused gifts and ended sagas, after a time.

Within that time a repeated key gets its first answer. What was delivered is kept, so its key is
answered for ever.
"""

from datetime import timedelta

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.storage import gifts
from mesh.postgres.database import Database
from mesh.postgres.retention import Retention
from mesh.saga.retention import forget_ended_sagas


def retention_of(database: Database, *, refused: timedelta, ended_sagas: timedelta) -> Retention:
    """Removes gifts that were refused longer ago than `refused`, and sagas that ended longer ago
    than `ended_sagas`."""

    def forget_gifts(cursor: Cursor, max_count: int) -> int:
        return gifts.forget_refused(cursor, refused, max_count)

    def forget_sagas(cursor: Cursor, max_count: int) -> int:
        return forget_ended_sagas(cursor, ended_sagas, max_count)

    return Retention(database, (forget_gifts, forget_sagas))
