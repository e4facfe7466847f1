"""Fees for gifts: taken at most once, refunded at most once, and refused permanently.

Invariant: the first stored outcome of a fee is final, in whichever order its messages arrive
and however often. A refusal is stored too: the same fee is not taken later from a wallet that
has since received gems.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import USER_NOT_FOUND
from account_svc.domain.debits import INSUFFICIENT_CURRENCY
from account_svc.domain.gift_fees import (
    GIFT_FEE,
    GIFT_FEE_REFUND,
    REFUSALS,
    GiftFee,
    GiftFeeRefunded,
    Payer,
    StoredGiftFee,
    check_fee,
    check_player_count,
)
from account_svc.domain.wallets import WALLET_IN_DEBT, BalanceChange, BalanceLimit
from account_svc.storage import gift_fees, wallets
from mesh.contract.idempotency import IdempotencyKeyReused, operation_id
from mesh.deadlines import Deadline
from mesh.postgres.coalesced_reads import CoalescedRead
from mesh.postgres.database import Database, LockTimeout

Lock = Callable[[Cursor, Collection[str]], set[str]]
"""Locks the wallets of players and returns the players whose wallets it has locked."""


class GiftFees:
    """The fees of one database, and the players of gifts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._balances_after = CoalescedRead(self._read_balances_after)

    async def find_players(self, usernames: Sequence[str], user_ids: Sequence[str]) -> list[Payer]:
        """The players that exist. Raises InvalidArgument."""
        check_player_count("usernames", len(usernames))
        check_player_count("user_ids", len(user_ids))
        keys = [username.lower() for username in usernames]
        return await self._database.autocommit(
            lambda cursor: gift_fees.find_payers(cursor, keys, user_ids)
        )

    async def charge(self, fee: GiftFee, deadline: Deadline) -> int:
        """Takes the fee and returns the balance right after it. Idempotent by its id.

        Raises InvalidArgument, IdempotencyKeyReused, InsufficientCurrency, WalletInDebt,
        UserNotFound, GiftFeeRefunded, and DeadlineExceeded when other transactions held the
        wallet until the deadline.
        """
        check_fee(fee.amount_gems)
        stored = await self._once_the_wallet_is_free(_charge, fee, deadline)
        if stored.refusal:
            raise REFUSALS[stored.refusal]()
        if stored.is_refunded:
            raise GiftFeeRefunded
        balance_gems = stored.balance_after_gems
        if balance_gems is None:
            balance_gems = await self._balances_after.get(fee.fee_id)
        assert balance_gems is not None, "a fee that was taken is in the ledger"
        return balance_gems

    async def refund(self, fee: GiftFee, deadline: Deadline) -> None:
        """Refunds the fee if it was taken, and refuses it permanently if it was not. Idempotent
        by its id.

        Raises InvalidArgument, IdempotencyKeyReused, BalanceLimit, and DeadlineExceeded when
        other transactions held the wallet until the deadline.
        """
        check_fee(fee.amount_gems)
        await self._once_the_wallet_is_free(_refund, fee, deadline)

    async def _read_balances_after(self, fee_ids: Collection[str]) -> Mapping[str, int]:
        return await self._database.autocommit(
            lambda cursor: wallets.find_balances_after(cursor, fee_ids)
        )

    async def _once_the_wallet_is_free(
        self,
        work: Callable[[Cursor, GiftFee, Lock], StoredGiftFee | None],
        fee: GiftFee,
        deadline: Deadline,
    ) -> StoredGiftFee:
        """Tries without waiting first. Then it waits in the database, because trying again and
        again may lose to every pull of a busy player; few wait at a time, so that connections
        stay free for other calls."""
        stored = await self._database.transaction(
            lambda cursor: work(cursor, fee, wallets.lock_wallets)
        )
        while stored is None:
            async with self._database.room_to_wait:
                deadline.check()
                with suppress(LockTimeout):
                    stored = await self._database.transaction(
                        lambda cursor: work(cursor, fee, wallets.wait_for_wallets)
                    )
        return stored


def _charge(cursor: Cursor, fee: GiftFee, lock: Lock) -> StoredGiftFee | None:
    """The fee's outcome; None while another transaction holds the wallet."""
    stored = _find(cursor, fee)
    if stored is not None:
        return stored
    if lock(cursor, [fee.user_id]):
        stored = _find(cursor, fee)
        if stored is not None:
            return stored
        change = BalanceChange(fee.fee_id, fee.user_id, GIFT_FEE, -fee.amount_gems)
        balance_gems = wallets.change_balances(cursor, [change]).get(fee.fee_id)
        if balance_gems is not None:
            return replace(_decided(cursor, fee, ""), balance_after_gems=balance_gems)
        wallet = wallets.find_wallets(cursor, [fee.user_id])[fee.user_id]
        return _decided(cursor, fee, WALLET_IN_DEBT if wallet.debt_gems else INSUFFICIENT_CURRENCY)
    if wallets.existing_wallets(cursor, [fee.user_id]):
        return None
    return _decided(cursor, fee, USER_NOT_FOUND)


def _refund(cursor: Cursor, fee: GiftFee, lock: Lock) -> StoredGiftFee | None:
    """The fee's outcome; None while another transaction holds the wallet."""
    stored = _find(cursor, fee)
    if stored is not None and (stored.refusal or stored.is_refunded):
        return stored
    if not lock(cursor, [fee.user_id]):
        if wallets.existing_wallets(cursor, [fee.user_id]):
            return None
        return _decided(cursor, fee, USER_NOT_FOUND)
    stored = _find(cursor, fee)
    if stored is None:
        return _decided(cursor, fee, GiftFeeRefunded.REASON)
    if stored.refusal or stored.is_refunded:
        return stored
    refund_id = operation_id(GIFT_FEE_REFUND, fee.user_id, fee.fee_id)
    gift_fees.insert_gift_fee_refund(cursor, fee.fee_id, refund_id)
    change = BalanceChange(refund_id, fee.user_id, GIFT_FEE_REFUND, fee.amount_gems)
    if not wallets.change_balances(cursor, [change]):
        raise BalanceLimit
    return StoredGiftFee(fee, "", is_refunded=True)


def _find(cursor: Cursor, fee: GiftFee) -> StoredGiftFee | None:
    """The stored fee. Raises IdempotencyKeyReused when the id belongs to a different fee."""
    stored = gift_fees.find_gift_fee(cursor, fee.fee_id)
    if stored is not None and stored.fee != fee:
        raise IdempotencyKeyReused
    return stored


def _decided(cursor: Cursor, fee: GiftFee, refusal: str) -> StoredGiftFee:
    """Stores the fee's outcome, or returns the outcome that another call has just stored."""
    if gift_fees.insert_gift_fee(cursor, fee, refusal):
        return StoredGiftFee(fee, refusal, is_refunded=False)
    stored = _find(cursor, fee)
    assert stored is not None, "a conflicting fee is stored"
    return stored
