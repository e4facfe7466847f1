"""A comparison reads the day that it compares, however long the history is."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.payments import Period
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState
from account_svc.storage import clawbacks, reconciliations
from account_svc.use_cases.clawbacks.comparison import FIRST_ID
from mesh.postgres.database import Database
from proof.postgres_server import PostgresServer
from tests.storage.conftest import close, migrations_of, service_database
from tests.storage.explaining import ExplainingCursor

NAME = "comparison_reads"
DAY_SECONDS = 86_400
DAYS, OF_A_DAY = 1000, 20
ROW_COUNT = DAYS * OF_A_DAY
SINCE = 1_700_000_000
LAST_DAY = Period(SINCE + (DAYS - 1) * DAY_SECONDS, SINCE + DAYS * DAY_SECONDS)
PAGE = 8
LARGE = {"ledger", "purchase", "purchase_outcome", "clawback"}
# Every purchase was credited. Every second one was refunded, and every fourth got the gems back.
# One in a hundred clawbacks is pending. Pulls fill the rest of the ledger.
ROWS = f"""
SET session_replication_role = replica; SET synchronous_commit = off;
CREATE TEMPORARY TABLE row_of AS
    SELECT n, lpad(to_hex(n), 32, '0')::uuid AS id,
           to_timestamp({SINCE} + (n - 1)::bigint * {DAY_SECONDS} / {OF_A_DAY}) AS at
    FROM generate_series(1, {ROW_COUNT}) AS n;
INSERT INTO purchase (purchase_id, intent_id, user_id, amount, price_minor, currency,
                      payment_method, provider, created_at)
    SELECT id, id, id, 1, 1, 'USD', 'card', 'p', at FROM row_of ORDER BY n;
INSERT INTO purchase_outcome (purchase_id, outcome, reason, created_at)
    SELECT id, 'credited', '', at FROM row_of ORDER BY n;
INSERT INTO clawback (clawback_id, purchase_id, kind, reversal_id, charge_id, amount_minor, state,
                      taken, return_id, returned, created_at, updated_at)
    SELECT id, id, 'refund', 're_' || n, 'ch_' || n, 1,
           CASE WHEN n % 4 = 0 THEN 'undone' WHEN n % 200 = 2 THEN 'pending' ELSE 'settled' END,
           1, ('10000000' || substr(id::text, 9))::uuid, CASE WHEN n % 4 = 0 THEN 1 ELSE 0 END,
           at, at
    FROM row_of WHERE n % 2 = 0 ORDER BY n;
INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after, created_at)
    SELECT id, 1, id, 'purchase', 1, 1, at FROM row_of ORDER BY n;
INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after, created_at)
    SELECT id, 2, ('20000000' || substr(id::text, 9))::uuid, 'gift_fee_refund', 1, 2, at
    FROM row_of ORDER BY n;
ANALYZE;
"""
OF_THE_PROVIDER = [
    Reversal(ReversalKind.REFUND, f"re_{100 * n}", f"ch_{100 * n}", 1, ReversalState.SETTLED)
    for n in range(1, PAGE + 1)
]
Read = Callable[[Cursor], Any]
READS: dict[str, tuple[Read, int]] = {
    "ledger": (
        lambda cursor: reconciliations.ledger_differences(cursor, LAST_DAY, 10)[1],
        OF_A_DAY,
    ),
    "credited": (
        lambda cursor: reconciliations.list_credited(cursor, LAST_DAY, "p", None, PAGE),
        PAGE,
    ),
    "known": (
        lambda cursor: clawbacks.find_clawbacks(cursor, OF_THE_PROVIDER),
        PAGE,
    ),
    "pending": (
        lambda cursor: clawbacks.list_pending_clawbacks(cursor, "p", FIRST_ID, PAGE),
        PAGE,
    ),
}


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer, repository: Path) -> Iterator[Database]:
    database = service_database(postgres_server, NAME, migrations_of(repository, "account_svc"))
    url = postgres_server.cluster.superuser_url_of(NAME)
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(ROWS)
    yield database
    close(database)
    postgres_server.drop_database(NAME)


@pytest.mark.parametrize("name", READS)
async def test_a_day_is_read_by_index(database: Database, name: str) -> None:
    read, shown_count = READS[name]

    def explained(cursor: Cursor) -> ExplainingCursor:
        explaining = ExplainingCursor(cursor)
        assert read(cast(Cursor, explaining))
        return explaining

    seen = await database.autocommit(explained)
    assert seen.whole_tables & LARGE == set(), seen.whole_tables
    assert max(seen.rows_read.values()) <= 2 * shown_count + 2, seen.rows_read


async def test_all_differences_are_counted_and_some_are_listed(database: Database) -> None:
    count, listed = await database.autocommit(
        lambda cursor: reconciliations.ledger_differences(cursor, LAST_DAY, 10)
    )
    # No clawback has its entry: half of the purchases were taken back, half of these returned.
    assert (count, len(listed)) == (OF_A_DAY // 2 + OF_A_DAY // 4, 10)


async def test_pages_of_credited_purchases_leave_none_out(database: Database) -> None:
    def pages(cursor: Cursor) -> list[str]:
        found: list[str] = []
        last = None
        while page := reconciliations.list_credited(cursor, LAST_DAY, "p", last, PAGE):
            last = page[-1]
            found += [each.purchase_id for each in page]
        return found

    found = await database.autocommit(pages)
    assert len(found) == len(set(found)) == OF_A_DAY
