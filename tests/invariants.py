"""What must hold over all data, whatever happened to whichever process.

Each check reads whole tables and names the rows that break it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2

from tests.stack import Mesh

SETTLE_SECONDS = 15.0
Row = tuple[object, ...]
Query = Callable[[str], list[Row]]

CHECKS_OF_ACCOUNT = {
    "a balance is the sum of its ledger": """
        SELECT user_id, balance, coalesce(sum(amount), 0) FROM wallet
        LEFT JOIN ledger USING (user_id)
        GROUP BY user_id, balance HAVING balance <> coalesce(sum(amount), 0)
    """,
    "a balance is never negative": "SELECT user_id, balance FROM wallet WHERE balance < 0",
    "a player has a wallet": """
        SELECT user_id FROM player LEFT JOIN wallet USING (user_id) WHERE balance IS NULL
    """,
    "purchases and their ledger entries are the same set": """
        SELECT * FROM (SELECT purchase_id, user_id, amount FROM purchase) AS bought
        FULL JOIN (SELECT operation_id, user_id, amount FROM ledger WHERE kind = 'purchase')
            AS entered ON (bought.purchase_id, bought.user_id, bought.amount)
                        = (entered.operation_id, entered.user_id, entered.amount)
        WHERE purchase_id IS NULL OR operation_id IS NULL
    """,
}
CHECKS_OF_GACHA = {
    "a pull has as many items as were paid for": """
        SELECT pull_id, count FROM pull LEFT JOIN pull_item USING (pull_id)
        GROUP BY pull_id, count HAVING count(item_id) <> count
    """,
    "an inventory is the sum of its player's pulls": """
        SELECT * FROM (
            SELECT user_id, item_id, count(*) AS pulled
            FROM pull JOIN pull_item USING (pull_id) GROUP BY user_id, item_id
        ) AS gained FULL JOIN inventory USING (user_id, item_id)
        WHERE pulled IS DISTINCT FROM count
    """,
    "a pull was drawn by odds that were in force": """
        SELECT pull_id FROM pull LEFT JOIN odds USING (odds_version) WHERE definition IS NULL
    """,
    "no decision is left undone": """
        SELECT gid FROM tx_decision WHERE outcome = 'commit' AND done_at IS NULL
          AND decided_at < now() - interval '10 seconds'
    """,
}
DEBITS = "SELECT operation_id::text, user_id::text, -amount FROM ledger WHERE kind = 'pull'"
PULLS = "SELECT pull_id::text, user_id::text, cost FROM pull"
PREPARED = "SELECT gid FROM pg_prepared_xacts"


def broken_invariants(mesh: Mesh) -> list[str]:
    """Every invariant that does not hold, with up to five of its rows; empty when all do."""
    return [
        *_still_prepared(mesh),
        *(f"{name}: not so for {rows[:5]}" for name, rows in broken_rows(mesh)),
        *_unequal_sets(mesh),
    ]


def broken_rows(mesh: Mesh) -> Iterator[tuple[str, list[Row]]]:
    """Each invariant of one database that does not hold, with the rows that break it."""
    for database, checks in (("account", CHECKS_OF_ACCOUNT), ("gacha", CHECKS_OF_GACHA)):
        for name, statement in checks.items():
            if rows := query(mesh, database, statement):
                yield name, rows


def pulls_without_debit(mesh: Mesh) -> list[Row]:
    """Reads the gacha first and the account second, as anybody may during a load."""
    pulls = set(query(mesh, "gacha", PULLS))
    return sorted(pulls - set(query(mesh, "account", DEBITS)))


def query(mesh: Mesh, database: str, statement: str) -> list[Row]:
    """All rows of a statement, on a connection of its own."""
    with closing(psycopg2.connect(mesh.database_url(database))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


def _still_prepared(mesh: Mesh) -> Iterator[str]:
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        prepared = [
            row for database in ("account", "gacha") for row in query(mesh, database, PREPARED)
        ]
        if not prepared:
            return
        if time.monotonic() > deadline:
            yield f"still prepared after {SETTLE_SECONDS:g} s: {prepared[:5]}"
            return
        time.sleep(0.2)


def _unequal_sets(mesh: Mesh) -> Iterator[str]:
    debits, pulls = set(query(mesh, "account", DEBITS)), set(query(mesh, "gacha", PULLS))
    if debits - pulls:
        yield f"debits without a pull: {sorted(debits - pulls)[:5]}"
    if pulls - debits:
        yield f"pulls without a debit: {sorted(pulls - debits)[:5]}"
