"""Wallets and the ledger. Every function runs in the caller's transaction, by its cursor."""

from collections.abc import Collection, Mapping, Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.wallets import MAX_BALANCE_GEMS, BalanceChange, LedgerEntry, Wallet

LOCK_TIMEOUT = "200ms"


def find_wallets(cursor: Cursor, user_ids: Collection[str]) -> Mapping[str, Wallet]:
    """The wallets of the players that exist."""
    cursor.execute(
        "SELECT user_id::text, balance, debt FROM wallet WHERE user_id = ANY(%s::uuid[])",
        (list(user_ids),),
    )
    return {user_id: Wallet(*gems) for user_id, *gems in cursor.fetchall()}


def lock_wallets(cursor: Cursor, user_ids: Collection[str]) -> set[str]:
    """Locks the free wallets without waiting. Returns their players."""
    cursor.execute(
        "SELECT user_id::text FROM wallet WHERE user_id = ANY(%s::uuid[])"
        " ORDER BY user_id FOR UPDATE SKIP LOCKED",
        (list(user_ids),),
    )
    return {user_id for (user_id,) in cursor.fetchall()}


def wait_for_wallets(cursor: Cursor, user_ids: Collection[str]) -> set[str]:
    """Locks the wallets and returns their players. Waits for each no longer than LOCK_TIMEOUT;
    then the transaction fails with LockTimeout."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
    cursor.execute(
        "SELECT user_id::text FROM wallet WHERE user_id = ANY(%s::uuid[])"
        " ORDER BY user_id FOR UPDATE",
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


def change_balances(cursor: Cursor, changes: Sequence[BalanceChange]) -> Mapping[str, int]:
    """Applies each change that leaves a balance within its bounds, with its ledger entry. A
    credit pays a debt first; only a change that may owe leaves or deepens one by taking gems.

    Returns the new balance by operation id; what is missing was not applied. At most
    one change a player, whose wallet was locked before.
    """
    cursor.execute(
        """
        WITH changed AS (
            UPDATE wallet
            SET balance = greatest(wallet.net + change.amount, 0),
                debt = greatest(-(wallet.net + change.amount), 0),
                entry_count = wallet.entry_count + 1
            FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::bigint[], %s::boolean[])
                AS change (operation_id, user_id, kind, amount, may_owe)
            WHERE wallet.user_id = change.user_id
              AND wallet.net + change.amount BETWEEN -%s AND %s
              AND (wallet.net + change.amount >= 0 OR change.amount > 0 OR change.may_owe)
            RETURNING wallet.user_id, wallet.entry_count, wallet.balance, wallet.debt,
                      change.operation_id, change.kind, change.amount
        )
        INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after, debt_after)
        SELECT user_id, entry_count, operation_id, kind, amount, balance, debt FROM changed
        RETURNING operation_id::text, balance_after
        """,
        (
            [change.operation_id for change in changes],
            [change.user_id for change in changes],
            [change.kind for change in changes],
            [change.amount_gems for change in changes],
            [change.may_owe for change in changes],
            MAX_BALANCE_GEMS,
            MAX_BALANCE_GEMS,
        ),
    )
    return dict(cursor.fetchall())


def change_in_rounds(cursor: Cursor, changes: Sequence[BalanceChange]) -> Mapping[str, int]:
    """As `change_balances`, for any number of changes a player, in the given order."""
    by_user: dict[str, list[BalanceChange]] = {}
    for change in changes:
        by_user.setdefault(change.user_id, []).append(change)
    balances: dict[str, int] = {}
    for number in range(max(map(len, by_user.values()), default=0)):
        # A wallet moves by one ledger entry at a time.
        of_round = [each[number] for each in by_user.values() if number < len(each)]
        balances.update(change_balances(cursor, of_round))
    return balances


def list_ledger(cursor: Cursor, user_id: str, before: int | None, limit: int) -> list[LedgerEntry]:
    """A player's entries below the number `before`, newest first."""
    cursor.execute(
        """
        SELECT number, operation_id::text, kind, amount, balance_after, debt_after, created_at
        FROM ledger WHERE user_id = %s AND (%s::bigint IS NULL OR number < %s)
        ORDER BY number DESC LIMIT %s
        """,
        (user_id, before, before, limit),
    )
    return [LedgerEntry(*row) for row in cursor.fetchall()]
