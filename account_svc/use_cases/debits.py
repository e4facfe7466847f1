"""The account's part of pulls."""

from collections.abc import Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import USER_NOT_FOUND, UserNotFound
from account_svc.domain.debits import OWED_PULL, Debit, insufficient
from account_svc.domain.wallets import WALLET_IN_DEBT, BalanceChange, WalletInDebt
from account_svc.storage import debits as storage
from account_svc.storage import wallets
from mesh.txn.model import BUSY, DUPLICATE, No, Operation, Vote, Yes


def apply_debits(cursor: Cursor, operations: Sequence[Operation[Debit]]) -> list[Vote[int]]:
    """Debits a batch of pulls, inside their branch, by three statements at most.

    A YES vote has the balance after the debit. Reasons of a NO: USER_NOT_FOUND; BUSY when
    another transaction or another operation of this batch holds the wallet; DUPLICATE when
    the operation was applied before; WALLET_IN_DEBT with the debt; INSUFFICIENT_CURRENCY with
    price and balance.
    """
    by_user: dict[str, Operation[Debit]] = {}
    for operation in operations:
        by_user.setdefault(operation.body.user_id, operation)
    done = storage.take_gems(
        cursor,
        {operation.id: operation.body for operation in by_user.values()},
        [operation.id for operation in operations],
    )
    existing = done.locked
    if len(done.locked) < len(by_user):
        existing = wallets.existing_wallets(cursor, by_user)
    poor = [
        operation.body.user_id
        for operation in by_user.values()
        if operation.body.user_id in done.locked
        and operation.id not in done.applied
        and operation.id not in done.balances
    ]
    refused = wallets.find_wallets(cursor, poor) if poor else {}

    def vote(operation: Operation[Debit]) -> Vote[int]:
        user_id = operation.body.user_id
        if operation.id in done.applied:
            return No(DUPLICATE)
        if operation.id in done.balances:
            return Yes(done.balances[operation.id])
        if user_id not in existing:
            return No(USER_NOT_FOUND, UserNotFound().message)
        if user_id not in done.locked or by_user[user_id] is not operation:
            return No(BUSY)
        wallet = refused[user_id]
        if wallet.debt_gems:
            return No(WALLET_IN_DEBT, WalletInDebt().message, {"debt_gems": str(wallet.debt_gems)})
        return insufficient(operation.body.amount_gems, wallet.balance_gems)

    return [vote(operation) for operation in operations]


def apply_owed_debits(cursor: Cursor, operations: Sequence[Operation[Debit]]) -> list[Vote[int]]:
    """Debits pulls again whose branch was lost after they were decided, by four statements. What
    a wallet does not hold becomes its debt, because the items were given.

    At most one operation of a player. A YES vote has the balance after the debit. Reasons of a
    NO: USER_NOT_FOUND; BUSY when another transaction holds the wallet; DUPLICATE when the
    operation was applied before.
    """
    users = {operation.body.user_id for operation in operations}
    locked = wallets.lock_wallets(cursor, users)
    applied = wallets.find_balances_after(cursor, [operation.id for operation in operations])
    balances = wallets.change_balances(
        cursor,
        [
            BalanceChange(each.id, each.body.user_id, OWED_PULL, -each.body.amount_gems, True)
            for each in operations
            if each.body.user_id in locked and each.id not in applied
        ],
    )
    existing = wallets.existing_wallets(cursor, users)

    def vote(operation: Operation[Debit]) -> Vote[int]:
        if operation.id in applied:
            return No(DUPLICATE)
        if operation.id in balances:
            return Yes(balances[operation.id])
        if operation.body.user_id not in existing:
            return No(USER_NOT_FOUND, UserNotFound().message)
        return No(BUSY)

    return [vote(operation) for operation in operations]
