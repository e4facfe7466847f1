"""Batches of debits. Every function runs in the caller's transaction, by its cursor."""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.debits import Debit
from mesh.postgres.sql_arrays import array_of_plain


@dataclass(frozen=True, slots=True)
class Debited:
    """The outcome of a batch of debits: the players whose wallets were free, the operations
    that had been applied before, and the balance after each new debit."""

    locked: Set[str]
    applied: Set[str]
    balances: Mapping[str, int]


def take_gems(
    cursor: Cursor, debits: Mapping[str, Debit], operation_ids: Collection[str]
) -> Debited:
    """Locks the free wallets without waiting. Debits those that can pay and whose operation is
    new, and adds a ledger entry for each.

    `debits` are by operation id, at most one per player; `operation_ids` are all operations
    to check for repeats. One round trip.
    """
    cursor.execute(
        "SELECT locked, applied, debited, balances"
        " FROM take_gems(%s::uuid[], %s::uuid[], %s::bigint[], %s::uuid[])",
        (
            array_of_plain(debits),
            array_of_plain(debit.user_id for debit in debits.values()),
            array_of_plain(debit.amount_gems for debit in debits.values()),
            array_of_plain(operation_ids),
        ),
    )
    row = cursor.fetchone()
    assert row is not None, "the function gives one row"
    locked, applied, debited, balances = (column or () for column in row)
    return Debited(set(locked), set(applied), dict(zip(debited, balances, strict=True)))
