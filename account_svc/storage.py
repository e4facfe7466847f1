"""The account database. Every function takes a cursor whose transaction is its caller's."""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain import (
    MAX_BALANCE_GEMS,
    BalanceChange,
    Debit,
    EmailTaken,
    LedgerEntry,
    NewPlayer,
    Purchase,
    StoredPlayer,
    UsernameTaken,
)
from mesh.database import UNIQUE_VIOLATION
from mesh.sql_arrays import array_of_plain

_TAKEN = {"player_username_unique": UsernameTaken, "player_email_unique": EmailTaken}


def insert_player(
    cursor: Cursor, user_id: str, registration_id: str, player: NewPlayer, password_hash: str
) -> bool:
    """Adds a player with an empty wallet; False when this registration was made before.

    Raises UsernameTaken and EmailTaken, after which the transaction is failed.
    """
    try:
        cursor.execute(
            """
            INSERT INTO player
                (user_id, username, username_key, email, email_key, password_hash, registration_id)
            VALUES (%s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (registration_id) DO NOTHING RETURNING user_id
            """,
            (
                user_id,
                player.username,
                player.username_key,
                player.email,
                player.email_key,
                password_hash,
                registration_id,
            ),
        )
    except psycopg2.Error as error:
        taken = _TAKEN.get(error.diag.constraint_name or "")
        if error.pgcode == UNIQUE_VIOLATION and taken is not None:
            raise taken() from error
        raise
    if cursor.fetchone() is None:
        return False
    cursor.execute("INSERT INTO wallet (user_id) VALUES (%s)", (user_id,))
    return True


def find_player_by_registration(cursor: Cursor, registration_id: str) -> StoredPlayer | None:
    """The player that a registration made."""
    cursor.execute(
        "SELECT user_id, username, email, password_hash FROM player WHERE registration_id = %s",
        (registration_id,),
    )
    return _player(cursor)


def find_player_by_username(cursor: Cursor, username_key: str) -> StoredPlayer | None:
    """The player of that name, lower-cased."""
    cursor.execute(
        "SELECT user_id, username, email, password_hash FROM player WHERE username_key = %s",
        (username_key,),
    )
    return _player(cursor)


def find_balance(cursor: Cursor, user_id: str) -> int | None:
    """Gems in the player's wallet; None when there is no such player."""
    cursor.execute("SELECT balance FROM wallet WHERE user_id = %s", (user_id,))
    row = cursor.fetchone()
    return None if row is None else int(row[0])


def lock_wallets(cursor: Cursor, user_ids: Collection[str]) -> set[str]:
    """Locks the wallets that nobody else holds, without waiting, and names them."""
    cursor.execute(
        "SELECT user_id::text FROM wallet WHERE user_id = ANY(%s::uuid[])"
        " ORDER BY user_id FOR UPDATE SKIP LOCKED",
        (list(user_ids),),
    )
    return {user_id for (user_id,) in cursor.fetchall()}


def existing_wallets(cursor: Cursor, user_ids: Collection[str]) -> set[str]:
    """Those of the players who have a wallet, locked or not."""
    cursor.execute(
        "SELECT user_id::text FROM wallet WHERE user_id = ANY(%s::uuid[])", (list(user_ids),)
    )
    return {user_id for (user_id,) in cursor.fetchall()}


def find_balances_after(cursor: Cursor, operation_ids: Collection[str]) -> Mapping[str, int]:
    """The balance that each operation left, for those that were applied."""
    cursor.execute(
        "SELECT operation_id::text, balance_after FROM ledger WHERE operation_id = ANY(%s::uuid[])",
        (list(operation_ids),),
    )
    return dict(cursor.fetchall())


@dataclass(frozen=True, slots=True)
class Debited:
    """What became of a batch of debits: the players whose wallets were to be had, the
    operations that had been applied before, and the balance that each debit left now."""

    locked: Set[str]
    applied: Set[str]
    balances: Mapping[str, int]


def take_gems(
    cursor: Cursor, debits: Mapping[str, Debit], operation_ids: Collection[str]
) -> Debited:
    """Locks the wallets that nobody else holds, without waiting, and debits those that can
    pay and whose operation is new, with a ledger entry each.

    `debits` are by operation id, at most one a player; `operation_ids` are all that are
    asked about. One round trip.
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


def change_balances(cursor: Cursor, changes: Sequence[BalanceChange]) -> Mapping[str, int]:
    """Applies each change that leaves a balance within its bounds, with its ledger entry.

    Returns the new balance by operation id; what is missing was not applied. At most
    one change a player, whose wallet was locked before.
    """
    cursor.execute(
        """
        WITH changed AS (
            UPDATE wallet
            SET balance = wallet.balance + change.amount, entry_count = wallet.entry_count + 1
            FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::bigint[])
                AS change (operation_id, user_id, kind, amount)
            WHERE wallet.user_id = change.user_id
              AND wallet.balance + change.amount BETWEEN 0 AND %s
            RETURNING wallet.user_id, wallet.entry_count, wallet.balance,
                      change.operation_id, change.kind, change.amount
        )
        INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after)
        SELECT user_id, entry_count, operation_id, kind, amount, balance FROM changed
        RETURNING operation_id::text, balance_after
        """,
        (
            [change.operation_id for change in changes],
            [change.user_id for change in changes],
            [change.kind for change in changes],
            [change.amount_gems for change in changes],
            MAX_BALANCE_GEMS,
        ),
    )
    return dict(cursor.fetchall())


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


def list_ledger(cursor: Cursor, user_id: str, before: int | None, limit: int) -> list[LedgerEntry]:
    """A player's entries below the number `before`, newest first."""
    cursor.execute(
        """
        SELECT number, operation_id::text, kind, amount, balance_after, created_at
        FROM ledger WHERE user_id = %s AND (%s::integer IS NULL OR number < %s)
        ORDER BY number DESC LIMIT %s
        """,
        (user_id, before, before, limit),
    )
    return [LedgerEntry(*row) for row in cursor.fetchall()]


def _player(cursor: Cursor) -> StoredPlayer | None:
    row = cursor.fetchone()
    return None if row is None else StoredPlayer(*map(str, row))
