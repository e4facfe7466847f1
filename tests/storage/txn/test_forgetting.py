"""Old rows of transactions are removed a bounded number at a time, on a real PostgreSQL."""

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.participant import Participant
from tests.storage.conftest import MakeDatabase, empty
from tests.storage.txn.transaction_cluster import TABLE, apply

LIMIT = 2
REFUSAL = f"""
CREATE FUNCTION refuse_many() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    ASSERT (SELECT count(*) FROM gone) <= {LIMIT}, 'too many rows at once';
    RETURN NULL;
END $$;
CREATE TRIGGER few_at_once AFTER DELETE ON tx_branch REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_many();
"""
OLD_ROWS = """
INSERT INTO tx_branch (gid, created_at)
    SELECT 'old-' || n, now() - interval '2 days' FROM generate_series(1, 5) AS n;
INSERT INTO tx_branch (gid) VALUES ('new');
INSERT INTO tx_decision (gid, decided_at, first_operations)
    VALUES ('old-2', now() - interval '2 days', 'debits');
"""


@pytest.fixture
def schema(shared_database: MakeDatabase) -> Database:
    return shared_database("forgetting", branches.SCHEMA + TABLE + decision_log.SCHEMA + REFUSAL)


@pytest.fixture
async def database(schema: Database) -> Database:
    await empty(schema)
    await schema.autocommit(lambda cursor: cursor.execute(OLD_ROWS))
    return schema


async def known(database: Database) -> list[str]:
    def select(cursor: Cursor) -> list[str]:
        cursor.execute("SELECT gid FROM tx_branch ORDER BY gid")
        return [gid for (gid,) in cursor.fetchall()]

    return await database.autocommit(select)


@pytest.mark.parametrize(
    ("decides", "kept"), [(False, ["new", "old-3"]), (True, ["new", "old-2", "old-3"])]
)
async def test_old_branches_are_forgotten_a_few_at_a_time_and_open_ones_kept(
    database: Database, decides: bool, kept: list[str]
) -> None:
    """A database that decides looks at its own decisions too: `old-2` is open there."""
    participant = Participant(database, "one", apply, forget_limit=LIMIT, decides=decides)
    await participant.forget_old_gids(participant.forgettable_before(), ["old-3"])
    assert await known(database) == kept
