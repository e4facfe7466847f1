"""The saga of a purchase: its steps, their outcomes, and its compensation.

    CHARGING    charges at the provider, with the purchase's id as the key
      -> PAID        the charge succeeded
      -> FAILED      the charge was refused, permanently
      -> REFUNDED    an operator had refunded the charge at the provider
    PAID
      -> CREDITED    the gems are in the wallet: the pivot, and the end
      -> REFUNDING   the wallet cannot hold the gems
    REFUNDING
      -> REFUNDED    the provider has refunded the charge

Any instance may try a step any number of times: the keys of calls to the provider are fixed for
the purchase, and local changes commit in the transaction that moves the saga on, which happens
once. A call with the same key resolves a lost reply. While a refund is pending, the purchase waits
for it, because one that fails leaves the money here. So money is kept if and only if its gems were
credited. The comparison with the provider finds a refund that fails after it had succeeded, as an
uncredited charge (`account_svc.use_cases.clawbacks.comparison`).
"""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.payments import (
    Charge,
    ChargeOrder,
    ChargeState,
    OtherProvider,
    PaymentProvider,
    PaymentRefunded,
    UnsupportedAmount,
    UnsupportedPaymentMethod,
)
from account_svc.domain.purchases import PURCHASE, Purchase, PurchaseSagaState, PurchaseState
from account_svc.domain.wallets import BalanceLimit
from account_svc.storage import purchases as storage
from account_svc.use_cases.following import begin_following
from account_svc.use_cases.purchasing.credits import Credits, Paid
from account_svc.use_cases.purchasing.reads import BegunPurchases
from mesh.contract.idempotency import operation_id
from mesh.deadlines import Deadline
from mesh.errors import FailedPrecondition
from mesh.postgres.database import Database
from mesh.saga.definition import Definition, Move, PlainMove, Saga, SharedMove, State, StillWaiting

REFUND = "purchase_refund"
FRESH_SECONDS = 3600.0
"""How long every provider remembers a key; after that, the saga first searches the charge."""


class ChargePending(StillWaiting):
    """The provider has not settled the charge yet; the saga retries later."""

    REASON = "PAYMENT_PENDING"


class RefundPending(StillWaiting):
    """The money of a refund may still come back; the saga retries later."""

    REASON = "REFUND_PENDING"


class RefundFailed(FailedPrecondition):
    """The bank has refused a refund of ours, so the money is still here: a person refunds it."""

    REASON = "REFUND_FAILED"


class PurchaseSaga:
    """The definition of the saga, over the account database and the provider."""

    def __init__(
        self, database: Database, provider: PaymentProvider, begun: BegunPurchases
    ) -> None:
        self._database = database
        self._begun = begun
        self._provider = provider
        step = PurchaseSagaState
        self.definition = Definition(
            PURCHASE,
            step.CHARGING,
            {
                step.CHARGING: State(self._charge, {step.PAID, step.FAILED, step.REFUNDED}),
                step.PAID: State(self._credit, {step.CREDITED, step.REFUNDING}),
                step.REFUNDING: State(self._refund, {step.REFUNDED}),
            },
        )
        self._credits = Credits(database, self.definition)

    async def _charge(self, saga: Saga, deadline: Deadline) -> Move | PlainMove:
        purchase = await self._purchase(saga)
        try:
            charge = await self._charged(purchase, deadline)
        except (UnsupportedPaymentMethod, UnsupportedAmount) as error:
            return _ending(saga, PurchaseState.FAILED, error.reason)
        match charge.state:
            case ChargeState.PENDING:
                raise ChargePending("The payment provider has not settled this charge yet.")
            case ChargeState.DECLINED:
                return _ending(saga, PurchaseState.FAILED, charge.decline_reason)
            case ChargeState.REFUNDED:
                await self._check_refunds(purchase, charge.charge_id, deadline)
                return _ending(saga, PurchaseState.REFUNDED, PaymentRefunded.REASON)
            case ChargeState.SUCCEEDED:
                return PlainMove(PurchaseSagaState.PAID, {"charge_id": charge.charge_id})

    async def _charged(self, purchase: Purchase, deadline: Deadline) -> Charge:
        """The charge; makes it if there is none."""
        if await self._begun.age_seconds(purchase.purchase_id) > FRESH_SECONDS:
            found = await self._provider.find_charge(purchase.purchase_id, deadline)
            if found is not None:
                return found
        order = ChargeOrder(
            purchase.purchase_id,
            purchase.user_id,
            purchase.price_minor,
            purchase.currency,
            purchase.payment_method,
        )
        return await self._provider.charge(order, deadline)

    async def _credit(self, saga: Saga, deadline: Deadline) -> SharedMove:
        """A purchase that took long may have been refunded in part long ago. No comparison reads
        that refund as new any more, so the charge is followed once its purchase has ended."""
        purchase = await self._purchase(saga)
        if await self._begun.age_seconds(purchase.purchase_id) > FRESH_SECONDS:
            charge_ids = [saga.body["charge_id"]]
            await self._database.autocommit(
                lambda cursor: begin_following(cursor, charge_ids, purchase.purchase_id)
            )
        paid = Paid(saga, purchase)
        return SharedMove(lambda: self._credits.credit(paid, deadline))

    async def _refund(self, saga: Saga, deadline: Deadline) -> Move:
        purchase = await self._purchase(saga)
        charge = Charge(purchase.purchase_id, saga.body["charge_id"], ChargeState.SUCCEEDED)
        key = operation_id(REFUND, purchase.user_id, purchase.purchase_id)
        await self._provider.refund(charge, key, deadline)
        await self._check_refunds(purchase, charge.charge_id, deadline)
        return _ending(saga, PurchaseState.REFUNDED, BalanceLimit.REASON)

    async def _check_refunds(self, purchase: Purchase, charge_id: str, deadline: Deadline) -> None:
        """Raises RefundPending while a refund of the charge may fail, and RefundFailed when one
        did and the money was not given back otherwise."""
        charge = await self._provider.find_reversals(charge_id, deadline)
        if charge is None:
            return
        if charge.may_fail_to_refund:
            raise RefundPending("The payment provider has not settled a refund yet.")
        if charge.failed_to_refund(purchase.price_minor):
            raise RefundFailed("A refund has failed; refund the charge at the payment provider.")

    async def _purchase(self, saga: Saga) -> Purchase:
        """Raises OtherProvider."""
        purchase = await self._begun.of(saga.saga_id)
        if purchase.provider != self._provider.name:
            raise OtherProvider(f"This purchase belongs to {purchase.provider}.")
        return purchase


def _ending(saga: Saga, outcome: PurchaseState, reason: str) -> Move:
    """The move to the final state with the name of the outcome."""

    def apply(cursor: Cursor) -> str:
        storage.insert_outcome(cursor, saga.saga_id, outcome, reason)
        return PurchaseSagaState[outcome.name]

    return Move(apply)
