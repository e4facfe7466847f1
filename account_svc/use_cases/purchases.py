"""Gems that are bought."""

import asyncio

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import UserNotFound
from account_svc.domain.purchases import PURCHASE, Purchase, check_purchase
from account_svc.domain.wallets import BalanceChange, BalanceLimit
from account_svc.storage import purchases as storage
from account_svc.storage import wallets
from mesh.database import Database
from mesh.deadlines import Deadline
from mesh.idempotency import IdempotencyKeyReused, checked_key, operation_id

WALLET_BUSY_PAUSE_SECONDS = 0.02


class Purchases:
    """Purchases, over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def buy(
        self, user_id: str, amount_gems: int, payment_method: str, key: str, deadline: Deadline
    ) -> int:
        """Credits the wallet and returns the balance right after. Idempotent by `key`.

        Raises InvalidArgument, IdempotencyKeyReused, UserNotFound, BalanceLimit, and
        DeadlineExceeded when a pull held the wallet all the time.
        """
        check_purchase(amount_gems, payment_method)
        purchase_id = operation_id(PURCHASE, user_id, checked_key(key))
        purchase = Purchase(purchase_id, user_id, amount_gems, payment_method)
        while True:
            balance = await self._database.transaction(lambda cursor: _buy(cursor, purchase))
            if balance is not None:
                return balance
            # Waiting here and not in the database leaves its connections to those who can go on.
            deadline.check()
            await asyncio.sleep(WALLET_BUSY_PAUSE_SECONDS)


def _buy(cursor: Cursor, purchase: Purchase) -> int | None:
    """The balance after the purchase; None while another transaction holds the wallet."""
    user_id, operation = purchase.user_id, purchase.purchase_id
    if not wallets.lock_wallets(cursor, [user_id]):
        if not wallets.existing_wallets(cursor, [user_id]):
            raise UserNotFound
        return None
    if not storage.insert_purchase(cursor, purchase):
        if storage.find_purchase(cursor, operation) != purchase:
            raise IdempotencyKeyReused
        return wallets.find_balances_after(cursor, [operation])[operation]
    change = BalanceChange(operation, user_id, PURCHASE, purchase.amount_gems)
    balances = wallets.change_balances(cursor, [change])
    if operation not in balances:
        raise BalanceLimit
    return balances[operation]
