"""Fees for gifts: taken at most once, refunded at most once, and refused permanently.

Invariant: the first stored outcome of a fee is final, in whichever order its messages arrive
and however often. A refusal is stored too: the same fee is not taken later from a wallet that
has since received gems.

Fees that are charged at the same time share a transaction, which waits for no wallet. One whose
wallet is busy waits for it alone.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial

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
    check_fee_count,
    check_player_count,
)
from account_svc.domain.wallets import WALLET_IN_DEBT, BalanceChange, BalanceLimit, Wallet
from account_svc.storage import gift_fees, wallets
from mesh.contract.idempotency import IdempotencyKeyReused, operation_id
from mesh.deadlines import Deadline
from mesh.postgres.coalesced_reads import CoalescedRead
from mesh.postgres.database import Database, LockTimeout, LostRace
from mesh.postgres.shared_transactions import SharedTransactions

Lock = Callable[[Cursor, Collection[str]], set[str]]
"""Locks the wallets of players and returns the players whose wallets it has locked."""


class GiftFees:
    """The fees of one database, and the players of gifts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._charges: SharedTransactions[GiftFee, StoredGiftFee | None] = SharedTransactions(
            database, partial(_charge, wallets.lock_wallets)
        )
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
        stored = await self._charge_if_free(fee)
        if stored is None:
            stored = await self._once_the_wallet_is_free(_charge_alone, fee, deadline)
        if stored.final_refusal:
            raise REFUSALS[stored.final_refusal]()
        balance_gems = stored.balance_after_gems
        if balance_gems is None:
            balance_gems = await self._balances_after.get(fee.fee_id)
        assert balance_gems is not None, "a fee that was taken is in the ledger"
        return balance_gems

    async def charge_free(self, fees: Sequence[GiftFee]) -> Sequence[bool]:
        """As `charge`, for several fees, without waiting for a wallet. Returns whether each fee is
        taken; if not, `charge` says why. Raises InvalidArgument."""
        check_fee_count(len(fees))
        for fee in fees:
            check_fee(fee.amount_gems)
        return await asyncio.gather(*(self._is_taken(fee) for fee in fees))

    async def refund(self, fee: GiftFee, deadline: Deadline) -> None:
        """Refunds the fee if it was taken, and refuses it permanently if it was not. Idempotent
        by its id.

        Raises InvalidArgument, IdempotencyKeyReused, BalanceLimit, and DeadlineExceeded when
        other transactions held the wallet until the deadline.
        """
        check_fee(fee.amount_gems)
        refunded = await self._database.transaction(
            lambda cursor: _refund(cursor, fee, wallets.lock_wallets)
        )
        if refunded is None:
            await self._once_the_wallet_is_free(_refund, fee, deadline)

    async def _charge_if_free(self, fee: GiftFee) -> StoredGiftFee | None:
        """The stored fee; None while another transaction holds the wallet."""
        with suppress(LockTimeout):
            return await self._charges.run(fee)
        return None

    async def _is_taken(self, fee: GiftFee) -> bool:
        with suppress(IdempotencyKeyReused):
            stored = await self._charge_if_free(fee)
            return stored is not None and not stored.final_refusal
        return False

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
        """After a try that did not wait. It waits in the database, because trying again and again
        may lose to every pull of a busy player; few wait at a time, so that connections stay free
        for other calls."""
        stored: StoredGiftFee | None = None
        while stored is None:
            async with self._database.room_to_wait:
                deadline.check()
                with suppress(LockTimeout):
                    stored = await self._database.transaction(
                        lambda cursor: work(cursor, fee, wallets.wait_for_wallets)
                    )
        return stored


def _charge(
    lock: Lock, cursor: Cursor, fees: Sequence[GiftFee]
) -> Sequence[StoredGiftFee | IdempotencyKeyReused | None]:
    """The outcomes of the fees; None for one that is not stored while another transaction holds
    its wallet."""
    # Before the stored fees are read: another message about the same fee held the wallet.
    user_ids = {fee.user_id for fee in fees}
    locked = lock(cursor, user_ids)
    unlocked = user_ids - locked
    busy = wallets.existing_wallets(cursor, unlocked) if unlocked else set[str]()
    stored = dict(gift_fees.find_gift_fees(cursor, {fee.fee_id for fee in fees}))
    new: dict[str, GiftFee] = {}
    for fee in fees:
        if fee.fee_id not in stored and fee.user_id not in busy:
            new.setdefault(fee.fee_id, fee)
    if new:
        stored.update(_decide(cursor, list(new.values()), locked))
    return [_outcome_of(fee, stored.get(fee.fee_id)) for fee in fees]


def _charge_alone(cursor: Cursor, fee: GiftFee, lock: Lock) -> StoredGiftFee | None:
    (outcome,) = _charge(lock, cursor, [fee])
    if isinstance(outcome, IdempotencyKeyReused):
        raise outcome
    return outcome


def _decide(
    cursor: Cursor, fees: Sequence[GiftFee], locked: Collection[str]
) -> Mapping[str, StoredGiftFee]:
    """Takes the fees that can be taken, and stores the outcomes of all. A player who is not
    locked does not exist."""
    balances = wallets.change_in_rounds(
        cursor,
        [
            BalanceChange(fee.fee_id, fee.user_id, GIFT_FEE, -fee.amount_gems)
            for fee in fees
            if fee.user_id in locked
        ],
    )
    refused = [fee for fee in fees if fee.fee_id not in balances]
    found = wallets.find_wallets(cursor, {fee.user_id for fee in refused}) if refused else {}
    refusals = {fee.fee_id: _refusal(found.get(fee.user_id)) for fee in refused}
    if not gift_fees.insert_gift_fees(cursor, fees, refusals):
        # Only a fee of nobody, or of two players, has no wallet that all its messages lock.
        raise LostRace("Another transaction has stored one of these fees; try again.")
    return {
        fee.fee_id: StoredGiftFee(
            fee,
            refusals.get(fee.fee_id, ""),
            is_refunded=False,
            balance_after_gems=balances.get(fee.fee_id),
        )
        for fee in fees
    }


def _refusal(wallet: Wallet | None) -> str:
    if wallet is None:
        return USER_NOT_FOUND
    return WALLET_IN_DEBT if wallet.debt_gems else INSUFFICIENT_CURRENCY


def _outcome_of(
    fee: GiftFee, stored: StoredGiftFee | None
) -> StoredGiftFee | IdempotencyKeyReused | None:
    """IdempotencyKeyReused when the id belongs to a different fee."""
    return IdempotencyKeyReused() if stored is not None and stored.fee != fee else stored


def _refund(cursor: Cursor, fee: GiftFee, lock: Lock) -> StoredGiftFee | None:
    """The fee's outcome; None while another transaction holds the wallet."""
    stored = _find(cursor, fee)
    if stored is not None and (stored.refusal or stored.is_refunded):
        return stored
    if not lock(cursor, [fee.user_id]):
        if wallets.existing_wallets(cursor, [fee.user_id]):
            return None
        return _refused(cursor, fee, USER_NOT_FOUND)
    stored = _find(cursor, fee)
    if stored is None:
        return _refused(cursor, fee, GiftFeeRefunded.REASON)
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
    outcome = _outcome_of(fee, gift_fees.find_gift_fees(cursor, [fee.fee_id]).get(fee.fee_id))
    if isinstance(outcome, IdempotencyKeyReused):
        raise outcome
    return outcome


def _refused(cursor: Cursor, fee: GiftFee, refusal: str) -> StoredGiftFee:
    """Stores that the fee was not taken."""
    if not gift_fees.insert_gift_fees(cursor, [fee], {fee.fee_id: refusal}):
        raise LostRace("Another transaction has stored this fee; try again.")
    return StoredGiftFee(fee, refusal, is_refunded=False)
