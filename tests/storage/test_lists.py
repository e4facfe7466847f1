"""What a player reads page by page is read by index, at a million rows of other players."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.storage import purchases, wallets
from gacha_svc.storage import gifts, pulls
from mesh.postgres.database import Database
from proof.postgres_server import PostgresServer
from tests.storage.conftest import (
    ServiceDatabase,
    close,
    migrations_of,
    service_database,
)
from tests.storage.explaining import ExplainingCursor

FOREIGN, OWN, PAGE = 1_000_000, 30, 20
READER, SENDER = "ffffffff-0000-4000-8000-000000000001", "ffffffff-0000-4000-8000-000000000002"
LARGE = (
    "gift",
    "gift_outcome",
    "inventory",
    "ledger",
    "pull",
    "pull_item",
    "purchase",
    "purchase_outcome",
)
LARGE_NAMES = ", ".join(f"'{name}'" for name in LARGE)
MAX_READ = 3 * PAGE
"""Of one table for one page: the sent and the received ones, and those that are shown."""
# The tables have neither a write-ahead log nor constraints, and their indexes are made when all
# rows are there: filling takes a fifth of the time on a slow disk.
BEFORE = f"""
SET session_replication_role = replica; SET synchronous_commit = off;
SET maintenance_work_mem = '256MB'; SET work_mem = '256MB'; SET temp_buffers = '128MB';
CREATE TEMPORARY TABLE definition AS
    SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ({LARGE_NAMES});
DO $$
DECLARE
    each record;
BEGIN
    FOR each IN
        SELECT conname, conrelid::regclass AS of_table FROM pg_constraint
        WHERE contype IN ('p', 'u', 'c', 'f') AND conrelid::regclass::text IN ({LARGE_NAMES})
        ORDER BY contype
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I CASCADE',
                       each.of_table, each.conname);
    END LOOP;
    FOR each IN SELECT indexname FROM definition LOOP
        EXECUTE format('DROP INDEX IF EXISTS %I CASCADE', each.indexname);
    END LOOP;
    FOR each IN SELECT tablename FROM pg_tables WHERE tablename IN ({LARGE_NAMES}) LOOP
        EXECUTE format('ALTER TABLE %I SET UNLOGGED', each.tablename);
    END LOOP;
END $$;
CREATE TEMPORARY TABLE row_of AS
    SELECT n, lpad(to_hex(n), 32, '0')::uuid AS id, n <= {OWN} AS is_own
    FROM generate_series(1, {FOREIGN + OWN}) AS n;
"""
AFTER = """
DO $$
DECLARE
    each record;
BEGIN
    FOR each IN SELECT indexdef FROM definition LOOP
        EXECUTE each.indexdef;
    END LOOP;
END $$;
ANALYZE;
"""
# Half of the foreign gifts were for the reader, and were refused. The others were delivered.
GACHA = f"""
INSERT INTO item SELECT n, 'Item ' || n, 'rare', n FROM generate_series(1, {OWN}) AS n;
INSERT INTO gift (gift_id, intent_id, sender_id, sender_name, receiver_id, receiver_name,
                  item_id, count, fee, item_name, item_rarity)
    SELECT id, id, CASE WHEN is_own AND n % 2 = 0 THEN '{READER}' WHEN is_own THEN '{SENDER}'
                           ELSE id END::uuid,
           'sender', CASE WHEN is_own AND n % 2 = 0 THEN '{SENDER}'
                          WHEN is_own OR n % 2 = 0 THEN '{READER}' ELSE '{SENDER}' END::uuid,
           'receiver', 1, 1, 20, 'Item 1', 'rare' FROM row_of;
INSERT INTO gift_outcome (gift_id, delivered, reason, sender_id, receiver_id, number)
    SELECT gift_id, reason = '', reason, sender_id, receiver_id, number FROM (
        SELECT *, CASE WHEN number > {OWN} AND receiver_id = '{READER}' THEN 'INVENTORY_FULL'
                       ELSE '' END AS reason FROM gift
    ) AS ended;
INSERT INTO pull (pull_id, user_id, banner_id, count, cost, odds_version)
    SELECT id, CASE WHEN is_own THEN '{READER}'::uuid ELSE id END, 'standard', 1, 160, 'v'
    FROM row_of;
INSERT INTO pull_item (pull_id, position, item_id, name, rarity, featured, pity)
    SELECT id, 1, 1, 'Item 1', 'rare', false, 1 FROM row_of;
INSERT INTO inventory SELECT CASE WHEN is_own THEN '{READER}'::uuid ELSE id END,
    CASE WHEN is_own THEN n ELSE 1 END, 1 FROM row_of;
"""
ACCOUNT = f"""
INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after)
    SELECT CASE WHEN is_own THEN '{READER}'::uuid ELSE id END,
           CASE WHEN is_own THEN n ELSE 1 END, id, 'purchase', 1, CASE WHEN is_own THEN n ELSE 1 END
    FROM row_of;
INSERT INTO purchase (purchase_id, intent_id, user_id, amount, price_minor, currency,
                      payment_method, provider)
    SELECT id, id, CASE WHEN is_own THEN '{READER}'::uuid ELSE id END, 1, 1, 'USD', 'card', 'p'
    FROM row_of;
INSERT INTO purchase_outcome (purchase_id, outcome, reason)
    SELECT id, 'credited', '' FROM row_of;
"""
ROWS = {"gacha": GACHA, "account": ACCOUNT}
List = Callable[[Cursor, str, int | None, int], list[Any]]
LISTS: dict[str, tuple[str, List]] = {
    "gifts": ("gacha", gifts.list_gifts),
    "pulls": ("gacha", pulls.list_pulls),
    "inventory": ("gacha", pulls.list_inventory),
    "ledger": ("account", wallets.list_ledger),
    "purchases": ("account", purchases.list_purchases),
}


@pytest.fixture(scope="module")
def databases(postgres_server: PostgresServer, repository: Path) -> Iterator[dict[str, Database]]:
    """Both services' databases, with the rows of a million other players."""

    def make(service: str) -> ServiceDatabase:
        schema = migrations_of(repository, f"{service}_svc")
        database = service_database(postgres_server, f"lists_{service}", schema)
        url = postgres_server.cluster.superuser_url_of(f"lists_{service}")
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(BEFORE + ROWS[service] + AFTER)
        return database

    with ThreadPoolExecutor() as threads:
        made = dict(zip(ROWS, threads.map(make, ROWS), strict=True))
    yield dict(made)
    for service, database in made.items():
        close(database)
        postgres_server.drop_database(f"lists_{service}")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", LISTS)
async def test_each_page_of_a_list_reads_little_more_than_it_shows(
    databases: dict[str, Database], name: str
) -> None:
    service, list_page = LISTS[name]
    shown, key = [], None
    for length in (PAGE, OWN - PAGE):

        def read(cursor: Cursor, key: int | None = key) -> tuple[list[Any], ExplainingCursor]:
            explaining = ExplainingCursor(cursor)
            page = list_page(cast(Cursor, explaining), READER, key, PAGE)
            return page, explaining

        page, explained = await databases[service].autocommit(read)
        assert len(page) == length
        assert explained.whole_tables & set(LARGE) == set()
        assert max(explained.rows_read.values()) <= MAX_READ, explained.rows_read
        shown += page
        key = page[-1].item.id if name == "inventory" else page[-1].number
    assert len({repr(each) for each in shown}) == OWN


@pytest.mark.timeout(300)
async def test_the_quota_of_refused_gifts_reads_no_more_than_its_number(
    databases: dict[str, Database],
) -> None:
    def read(cursor: Cursor) -> tuple[Mapping[str, float], ExplainingCursor]:
        explaining = ExplainingCursor(cursor)
        waits = gifts.seconds_until_admitted(cast(Cursor, explaining), [READER], PAGE, 3600.0)
        return waits, explaining

    waits, explained = await databases["gacha"].autocommit(read)
    assert (waits, explained.whole_tables) == ({}, set())
    assert explained.rows_read["gift_outcome"] <= PAGE
