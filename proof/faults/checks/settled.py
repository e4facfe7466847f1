"""Checks of all data when nothing is running, and a reader that checks during the load.

Comparisons of both databases first compare a digest of each side, so they stay cheap in a long
run. Only if the digests differ, the whole sets are fetched to name the rows.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice

import orjson
import psycopg2

from proof import invariants
from proof.fairness import CHECKS_OF_DRAWS
from proof.faults.checks.drawn_again import pulls_unlike_their_seeds
from proof.faults.findings import Check, Findings
from proof.faults.history import History, Kind, Operation
from proof.invariants import Row, query
from proof.stack import Mesh

SHOWN = 5
AT_ONCE = 2000
POLL_SECONDS = 0.2

SIDES = ("account", "gacha")
PREPARED = """
SELECT gid FROM pg_prepared_xacts WHERE database = current_database()
  AND gid LIKE current_database() || '/%'
"""
OPEN_DECISIONS = "SELECT gid FROM tx_decision"
COMMITTED = "SELECT gid FROM tx_branch WHERE NOT aborted"

PULLS_WITH_ITEMS = """
SELECT pull_id::text, user_id::text, count,
       (SELECT json_agg(json_build_object('item_id', item_id, 'name', name, 'rarity', rarity)
                        ORDER BY position)
        FROM pull_item WHERE pull_item.pull_id = pull.pull_id)
FROM pull WHERE pull_id = ANY(%s::uuid[])
"""
ENTRIES = """
SELECT operation_id::text, user_id::text, kind, amount, balance_after
FROM ledger WHERE operation_id = ANY(%s::uuid[])
"""
CHECK_OF = {
    **dict.fromkeys(CHECKS_OF_DRAWS, Check.FAIRNESS),
    "an inventory is the sum of its player's pulls and gifts": Check.INVENTORY,
    "a pull has as many items as were paid for": Check.INVENTORY,
    "no decision is left undone": Check.PREPARED,
    "no gift is left under way": Check.SAGAS,
    "no purchase is overdue or waits for a person": Check.SAGAS,
    "a purchase has an outcome if and only if its saga has ended as that says": Check.SAGAS,
}


def wait_until_settled(mesh: Mesh, findings: Findings, within_seconds: float) -> None:
    """Waits until no branch is prepared and no decision is open; reports those that remain."""
    deadline = time.monotonic() + within_seconds
    while True:
        with contextlib.suppress(psycopg2.OperationalError):
            left = [gid for side in SIDES for (gid,) in query(mesh, side, PREPARED)]
            left += [gid for (gid,) in query(mesh, "gacha", OPEN_DECISIONS)]
            if not left:
                return
            if time.monotonic() > deadline:
                findings.add(
                    Check.PREPARED, f"{len(left)} after {within_seconds:g} s: {left[:SHOWN]}"
                )
                return
        time.sleep(POLL_SECONDS)


def check_all(mesh: Mesh, history: History, findings: Findings) -> None:
    """Checks everything except the answers. Nothing may be running."""
    for name, rows in invariants.broken_rows(mesh):
        findings.add(CHECK_OF.get(name, Check.LEDGER), f"{name}: not so for {rows[:SHOWN]}")
    findings.extend(Check.SAME_SET, differences(mesh, invariants.DEBITS, invariants.PULLS))
    findings.extend(Check.FAIRNESS, pulls_unlike_their_seeds(mesh))
    findings.extend(Check.OUTCOMES, _outcomes(mesh))
    findings.extend(Check.UNREQUESTED, _unrequested(mesh, history))


def check_answers(
    mesh: Mesh, findings: Findings, done: Sequence[Operation], refused: Sequence[Operation]
) -> None:
    """Compares the answers about pulls with what is stored."""
    for some in in_parts([operation for operation in done if operation.kind is Kind.PULL]):
        findings.extend(Check.SUCCESSES, _unkept_successes(mesh, some))
    # A refusal answers one try. It means that nothing was done under the key only if no other
    # try of the same key has an unknown outcome.
    certain = [
        operation
        for operation in refused
        if operation.kind is Kind.PULL and not operation.unknown_count
    ]
    for some in in_parts(certain):
        findings.extend(Check.REFUSALS, _charged_refusals(mesh, some))


def differences(mesh: Mesh, of_account: str, of_gacha: str) -> Iterator[str]:
    """The rows that only one side has."""
    if _digest(mesh, "account", of_account) == _digest(mesh, "gacha", of_gacha):
        return
    account = sorted(query(mesh, "account", of_account))
    gacha = sorted(query(mesh, "gacha", of_gacha))
    if only_account := sorted(set(account) - set(gacha)):
        yield f"{len(only_account)} at account_svc alone: {only_account[:SHOWN]}"
    if only_gacha := sorted(set(gacha) - set(account)):
        yield f"{len(only_gacha)} at gacha_svc alone: {only_gacha[:SHOWN]}"
    if not only_account and not only_gacha:
        yield "a row is there twice on one side"


def _digest(mesh: Mesh, side: str, statement: str) -> Row:
    """A digest of the rows, independent of their order."""
    text = f"SELECT count(*), sum(hashtextextended(one::text, 0)) FROM ({statement}) AS one"
    return query(mesh, side, text)[0]


def _outcomes(mesh: Mesh) -> Iterator[str]:
    """What was committed at gacha_svc was decided to be, and nothing else."""
    if _digest(mesh, "account", COMMITTED) == _digest(mesh, "gacha", COMMITTED):
        return
    committed, decided = (set(query(mesh, side, COMMITTED)) for side in SIDES)
    if undecided := sorted(committed - decided):
        yield f"{len(undecided)} committed at account_svc undecided: {undecided[:SHOWN]}"
    if undone := sorted(decided - committed):
        yield f"{len(undone)} decided, not committed at account_svc: {undone[:SHOWN]}"


def _unrequested(mesh: Mesh, history: History) -> Iterator[str]:
    for side, statement in (
        ("gacha", "SELECT pull_id::text FROM pull"),
        ("gacha", "SELECT intent_id::text FROM gift"),
        ("account", "SELECT operation_id::text FROM ledger WHERE kind IN ('pull', 'owed_pull')"),
        ("account", "SELECT intent_id::text FROM purchase"),
    ):
        unrequested = {operation for (operation,) in query(mesh, side, statement)}
        if unrequested := unrequested - history.operation_ids:
            yield f"{len(unrequested)} at {side}_svc: {sorted(map(str, unrequested))[:SHOWN]}"


def _unkept_successes(mesh: Mesh, done: Sequence[Operation]) -> Iterator[str]:
    pulls = {operation.id: operation for operation in done}
    stored = {
        str(pull_id): (user_id, count, items)
        for pull_id, user_id, count, items in fetch(mesh, "gacha", PULLS_WITH_ITEMS, list(pulls))
    }
    for pull_id, operation in pulls.items():
        answered = orjson.loads(operation.body)["pulled_items"]
        if stored.get(pull_id) != (operation.user_id, operation.amount, answered):
            yield f"pull {pull_id}: answered {answered}, stored {stored.get(pull_id)}"


def _charged_refusals(mesh: Mesh, refused: Sequence[Operation]) -> Iterator[str]:
    ids = [operation.id for operation in refused]
    for row in fetch(mesh, "account", ENTRIES, ids):
        yield f"in the ledger: {row}"
    for row in fetch(mesh, "gacha", PULLS_WITH_ITEMS, ids):
        yield f"among the pulls: {row[:3]}"


def fetch(mesh: Mesh, side: str, statement: str, ids: Sequence[str]) -> list[Row]:
    """The rows of a statement with a list of ids."""
    with closing(psycopg2.connect(mesh.reader_url(side))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, (list(ids),))
            return cursor.fetchall()


def in_parts(operations: Sequence[Operation]) -> Iterator[Sequence[Operation]]:
    """Splits ids into parts, one for each statement."""
    waiting = iter(operations)
    while some := list(islice(waiting, AT_ONCE)):
        yield some


class Reader:
    """Reads account first and gacha second, at any time, as a client may."""

    RECENT = """
    SELECT operation_id::text, user_id::text, -amount FROM ledger
    WHERE kind IN ('pull', 'owed_pull') AND created_at > now() - interval '120 seconds'
    """
    THEIR_PULLS = """
    SELECT pull_id::text, user_id::text, cost FROM pull WHERE pull_id = ANY(%s::uuid[])
    """

    def __init__(self, mesh: Mesh, findings: Findings) -> None:
        self._mesh, self._findings = mesh, findings
        self._seen: set[Row] = set()
        self.read_count = 0

    def read_once(self) -> None:
        """Reports every debit without its pull; skipped while a database is down."""
        try:
            debits = set(query(self._mesh, "account", self.RECENT))
            new = debits - self._seen
            pulls = fetch(self._mesh, "gacha", self.THEIR_PULLS, [str(row[0]) for row in new])
        except psycopg2.Error:
            return
        self.read_count += 1
        self._seen = debits
        for debit in sorted(new - set(pulls)):
            self._findings.add(Check.READER, f"a debit without its pull: {debit}")
