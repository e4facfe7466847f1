"""What recovery and cleanup read of tables that grow is read by index, whatever their size."""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from mesh.saga import rows as sagas
from mesh.saga import turns
from mesh.txn.decisions import DecisionLog
from mesh.txn.participant import Participant
from proof.postgres_server import PostgresServer
from tests.storage.conftest import ServiceDatabase, close, migrations_of, service_database
from tests.storage.explaining import ExplainingCursor
from tests.storage.txn.transaction_cluster import apply

ROW_COUNT, OPEN_COUNT = 200_000, 20
OLD_COUNT = 8_000
"""Rows of gids that are older than a day."""
MAX_READ = 4 * OPEN_COUNT
NAME = "growing_tables"
ROWS = f"""
INSERT INTO tx_branch (gid, created_at)
    SELECT 'gid-' || n, now() - n * interval '1 day' / {ROW_COUNT - OLD_COUNT}
    FROM generate_series(1, {ROW_COUNT}) AS n;
INSERT INTO tx_decision (gid, decided_at, first_operations)
    SELECT gid, created_at, 'debits' FROM tx_branch
    WHERE gid IN (SELECT 'gid-' || {ROW_COUNT} - n FROM generate_series(1, {OPEN_COUNT}) AS n);
INSERT INTO saga (saga_id, kind, owner, state, body, due_at, is_parked, updated_at)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'gift', 'owner-' || n, 'STATE', '{{}}',
           CASE WHEN n <= {OPEN_COUNT} THEN now() END,
           n BETWEEN {OPEN_COUNT} + 1 AND 2 * {OPEN_COUNT}, now() - n * interval '1 second'
    FROM generate_series(1, {ROW_COUNT}) AS n;
ANALYZE;
"""
OWNERS = [f"owner-{number}" for number in range(1, OPEN_COUNT + 1)]
SAGA_READS: dict[str, Callable[[Cursor], Collection[Any]]] = {
    "open": sagas.list_open,
    "due": partial(
        turns.lease_due, kinds=["gift"], limit=OPEN_COUNT, seconds=1.0, driven={}, max_of_owner=1
    ),
    "under way": partial(turns.count_under_way, kind="gift", owners=OWNERS),
}
FOUND = {"open": 2 * OPEN_COUNT, "due": 0, "under way": OPEN_COUNT}
"""To explain the lease of what is due has leased it."""


class ExplainingDatabase:
    """A `Database` that explains what is executed on it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.explained: list[ExplainingCursor] = []

    async def autocommit(self, work: Callable[[Cursor], Any]) -> Any:
        """Runs `work` in a transaction that is rolled back."""

        def explain(cursor: Cursor) -> Any:
            cursor.execute("BEGIN")
            self.explained.append(ExplainingCursor(cursor))
            return work(cast(Cursor, self.explained[-1]))

        return await self._database.autocommit(explain)

    def check(self, table: str, max_read: int = MAX_READ) -> None:
        """The table was not read from one end to the other, and no more than so many rows."""
        assert self.explained
        for each in self.explained:
            assert table not in each.whole_tables
            assert each.rows_read[table] <= max_read


@pytest.fixture(scope="module")
def grown(postgres_server: PostgresServer, repository: Path) -> Iterator[ServiceDatabase]:
    database = service_database(postgres_server, NAME, migrations_of(repository, "gacha_svc"))
    url = postgres_server.cluster.superuser_url_of(NAME)
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(ROWS)
    yield database
    close(database)
    postgres_server.drop_database(NAME)


@pytest.fixture
def explaining(grown: ServiceDatabase) -> ExplainingDatabase:
    return ExplainingDatabase(grown.owner)


async def test_the_open_decisions_and_those_of_some_gids_are_found_by_index(
    explaining: ExplainingDatabase,
) -> None:
    database = cast(Database, explaining)
    decisions = DecisionLog(database, Participant(database, "second", apply, decides=True))
    assert len(await decisions.open_gids()) == OPEN_COUNT
    listed = await decisions.list_decisions([f"gid-{n}" for n in range(1, OPEN_COUNT + 1)])
    assert [each.is_open for each in listed] == [True] * OPEN_COUNT + [False] * OPEN_COUNT
    explaining.check("tx_branch")


@pytest.mark.parametrize("decides", [False, True])
async def test_the_cleanup_reads_the_old_gids_by_index(
    explaining: ExplainingDatabase, decides: bool
) -> None:
    participant = Participant(cast(Database, explaining), "second", apply, decides=decides)
    await participant.forget_old_gids(participant.forgettable_before(), [])
    assert len(explaining.explained) == 1
    # Each is read to be chosen and to be removed, and others grow old meanwhile.
    explaining.check("tx_branch", 3 * OLD_COUNT)


@pytest.mark.parametrize("name", SAGA_READS)
async def test_open_sagas_are_read_by_index(explaining: ExplainingDatabase, name: str) -> None:
    assert len(await explaining.autocommit(SAGA_READS[name])) == FOUND[name]
    explaining.check("saga")
