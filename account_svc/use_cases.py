"""What the account service does; each operation owns its transactions."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc import storage
from account_svc.domain import (
    INSUFFICIENT_CURRENCY,
    PURCHASE,
    USER_NOT_FOUND,
    BalanceChange,
    BalanceLimit,
    Debit,
    InvalidCredentials,
    LedgerEntry,
    NewPlayer,
    Purchase,
    UserNotFound,
    check_login,
    check_password,
    check_purchase,
    checked_player,
)
from account_svc.passwords import Passwords
from mesh.auth import TokenSigner
from mesh.database import Database
from mesh.deadlines import Deadline
from mesh.idempotency import IdempotencyKeyReused, checked_key, operation_id
from mesh.pages import checked_page_size, key_of
from mesh.txn.words import BUSY, DUPLICATE, No, Operation, Vote, Yes

LEDGER_PAGE_SIZE = 50
MAX_LEDGER_PAGE_SIZE = 100
WALLET_BUSY_PAUSE_SECONDS = 0.02


class Accounts:
    """Players and their wallets, over one database."""

    def __init__(self, database: Database, passwords: Passwords, signer: TokenSigner) -> None:
        self._database = database
        self._passwords = passwords
        self._signer = signer

    async def register(self, username: str, password: str, email: str, key: str) -> str:
        """Creates a player and returns its id. Idempotent by `key`.

        Raises InvalidArgument, UsernameTaken, EmailTaken, IdempotencyKeyReused.
        """
        player = checked_player(username, email)
        check_password(password)
        registration_id = operation_id("register", "", checked_key(key))
        if key:
            stored = await self._registered(registration_id, player, password)
            if stored is not None:
                return stored
        password_hash = await self._passwords.hash(password)
        user_id = str(uuid4())
        is_new = await self._database.transaction(
            lambda cursor: storage.insert_player(
                cursor, user_id, registration_id, player, password_hash
            )
        )
        if is_new:
            return user_id
        stored = await self._registered(registration_id, player, password)
        assert stored is not None, "a registration that conflicted is there"
        return stored

    async def login(self, username: str, password: str) -> str:
        """A token for the player. Raises InvalidArgument, InvalidCredentials."""
        check_login(username, password)
        player = await self._database.transaction(
            lambda cursor: storage.find_player_by_username(cursor, username.lower())
        )
        password_hash = player.password_hash if player else None
        if not await self._passwords.verify(password_hash, password) or player is None:
            raise InvalidCredentials
        return self._signer.sign(player.user_id)

    async def balance(self, user_id: str) -> int:
        """Gems that the player owns. Raises UserNotFound."""
        balance = await self._database.autocommit(
            lambda cursor: storage.find_balance(cursor, user_id)
        )
        if balance is None:
            raise UserNotFound
        return balance

    async def buy_currency(
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

    async def ledger(
        self, user_id: str, page_size: int, page_token: str
    ) -> tuple[list[LedgerEntry], str]:
        """A page of the player's entries, newest first, and the token of the next page."""
        size = checked_page_size(page_size, default=LEDGER_PAGE_SIZE, maximum=MAX_LEDGER_PAGE_SIZE)
        before = key_of(page_token)
        entries = await self._database.autocommit(
            lambda cursor: storage.list_ledger(cursor, user_id, before, size + 1)
        )
        page = entries[:size]
        return page, str(page[-1].number) if len(entries) > size else ""

    async def _registered(
        self, registration_id: str, player: NewPlayer, password: str
    ) -> str | None:
        """The id of the player that this registration made before, if it did."""
        stored = await self._database.autocommit(
            lambda cursor: storage.find_player_by_registration(cursor, registration_id)
        )
        if stored is None:
            return None
        is_same = (stored.username, stored.email) == (player.username, player.email)
        if not await self._passwords.verify(stored.password_hash, password) or not is_same:
            raise IdempotencyKeyReused
        return stored.user_id


def _buy(cursor: Cursor, purchase: Purchase) -> int | None:
    """The balance after the purchase; None while another transaction holds the wallet."""
    user_id, operation = purchase.user_id, purchase.purchase_id
    if not storage.lock_wallets(cursor, [user_id]):
        if not storage.existing_wallets(cursor, [user_id]):
            raise UserNotFound
        return None
    if not storage.insert_purchase(cursor, purchase):
        if storage.find_purchase(cursor, operation) != purchase:
            raise IdempotencyKeyReused
        return storage.find_balances_after(cursor, [operation])[operation]
    change = BalanceChange(operation, user_id, PURCHASE, purchase.amount_gems)
    balances = storage.change_balances(cursor, [change])
    if operation not in balances:
        raise BalanceLimit
    return balances[operation]


def apply_debits(cursor: Cursor, operations: Sequence[Operation[Debit]]) -> list[Vote[int]]:
    """The account's part of a batch of pulls, inside its branch.

    A YES tells the balance after. NO: USER_NOT_FOUND; BUSY when another transaction
    holds the wallet, or another operation of this batch; DUPLICATE when the operation
    was applied before; INSUFFICIENT_CURRENCY. One statement, whatever the batch.
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
        existing = storage.existing_wallets(cursor, by_user)

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
        return No(INSUFFICIENT_CURRENCY, "Insufficient currency")

    return [vote(operation) for operation in operations]
