"""Makes purchases, and reports their outcomes."""

from collections.abc import Sequence
from dataclasses import replace

from account_svc.domain.payments import (
    PaymentDeclined,
    PaymentMethodExpired,
    PaymentRefunded,
    UnsupportedAmount,
    UnsupportedPaymentMethod,
)
from account_svc.domain.prices import PriceList
from account_svc.domain.purchases import (
    PURCHASE,
    PurchaseNotFound,
    PurchaseRecord,
    PurchaseSagaState,
    PurchaseState,
    check_purchase,
)
from account_svc.domain.wallets import BalanceLimit
from account_svc.storage import purchases as storage
from account_svc.use_cases.purchasing.begins import Order, PurchaseBegins
from account_svc.use_cases.purchasing.credits import BALANCE_AFTER_GEMS
from account_svc.use_cases.purchasing.reads import BegunPurchases, purchase_reads
from mesh.contract.field_checks import check_each
from mesh.contract.idempotency import IdempotencyKeyReused, checked_key, operation_id
from mesh.contract.pages import checked_page
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.postgres.database import Database
from mesh.saga.answering import driven_to, record_in_time
from mesh.saga.begun import Begun
from mesh.saga.runner import SagaRunner

PURCHASES_PAGE_SIZE, MAX_PURCHASES_PAGE_SIZE = 20, 100


class Purchases:
    """Purchases over the account database and the sagas."""

    def __init__(
        self,
        database: Database,
        sagas: SagaRunner,
        begun: BegunPurchases,
        *,
        provider_name: str,
        prices: PriceList,
        max_pending: int,
    ) -> None:
        """`begun` is that of the sagas. `provider_name` and `prices` apply to new purchases, of
        which a player has `max_pending` under way."""
        self._database = database
        self._reads = purchase_reads(database)
        self._begins = PurchaseBegins(
            database,
            sagas,
            begun,
            provider_name=provider_name,
            price=prices.price,
            max_pending=max_pending,
        )
        self._prices = prices

    async def buy(
        self,
        user_id: str,
        amount_gems: int,
        payment_method: str,
        idempotency_key: str,
        deadline: Deadline,
    ) -> PurchaseRecord:
        """Charges the player, and credits the wallet. Idempotent by `idempotency_key`.

        Returns a pending purchase if it has not ended shortly before the deadline; its saga
        continues in the background. One that this call has credited has no `ended_at`. A purchase
        that ended is answered as it ended, also if it was refused: a new attempt needs a new key.
        Raises InvalidArgument, IdempotencyKeyReused, UserNotFound, BalanceLimit,
        TooManyPendingPurchases, PaymentDeclined, PaymentMethodExpired, PaymentRefunded,
        UnsupportedPaymentMethod, UnsupportedAmount; no money is kept then. After any other
        MeshError the outcome is unknown: repeat the key.
        """
        _, key = check_each(
            lambda: check_purchase(amount_gems, payment_method),
            lambda: checked_key(idempotency_key),
        )
        intent_id = operation_id(PURCHASE, user_id, key)
        begun = await self._begins.begin(Order(intent_id, user_id, amount_gems, payment_method))
        if not begun.record.purchase.matches(amount_gems, payment_method):
            raise IdempotencyKeyReused
        ended = await self._end(begun, deadline)
        if ended.state.is_refused:
            raise _refused(ended, self._prices.payment_methods)
        return ended

    async def find(self, user_id: str, purchase_id: str) -> PurchaseRecord:
        """A purchase of the player. Raises PurchaseNotFound."""
        record = await self._find(purchase_id)
        if record is None or record.purchase.user_id != user_id:
            raise PurchaseNotFound
        return record

    async def history(
        self, user_id: str, page_size: int, page_token: str
    ) -> tuple[list[PurchaseRecord], str]:
        """A page of the player's purchases, newest first, and the token of the next page."""
        size, before = checked_page(
            page_size, page_token, default=PURCHASES_PAGE_SIZE, maximum=MAX_PURCHASES_PAGE_SIZE
        )
        records = await self._database.autocommit(
            lambda cursor: storage.list_purchases(cursor, user_id, before, size + 1)
        )
        page = records[:size]
        return page, str(page[-1].number) if len(records) > size else ""

    async def _end(self, begun: Begun[PurchaseRecord], deadline: Deadline) -> PurchaseRecord:
        """The purchase once it has ended, or its state shortly before the deadline."""
        if begun.record.state is not PurchaseState.PENDING:
            return begun.record

        async def find() -> PurchaseRecord:
            if credited := driven_to(begun.driving, PurchaseSagaState.CREDITED):
                balance_gems = credited.body[BALANCE_AFTER_GEMS]
                return replace(
                    begun.record, state=PurchaseState.CREDITED, balance_after_gems=balance_gems
                )
            stands = await self._find(begun.record.purchase.purchase_id)
            assert stands is not None, "no purchase is removed on the day when it ends"
            return stands

        return await record_in_time(
            find,
            lambda record: record.state is PurchaseState.PENDING,
            begun.driving,
            deadline,
        )

    async def _find(self, purchase_id: str) -> PurchaseRecord | None:
        return await self._reads.get(purchase_id)


def _refused(record: PurchaseRecord, payment_methods: Sequence[str]) -> MeshError:
    """The error for a purchase that was not credited. It is the same for every repeat."""
    error: MeshError
    match record.reason:
        case BalanceLimit.REASON:
            error = BalanceLimit()
        case UnsupportedPaymentMethod.REASON:
            error = UnsupportedPaymentMethod.of(record.purchase.payment_method, payment_methods)
        case UnsupportedAmount.REASON:
            error = UnsupportedAmount.refused()
        case PaymentMethodExpired.REASON:
            error = PaymentMethodExpired(
                "The payment method has expired; use another one, with a new idempotency key."
            )
        case PaymentRefunded.REASON:
            error = PaymentRefunded()
        case reason:
            error = PaymentDeclined(
                "The payment was declined; use another payment method, with a new idempotency key.",
                reason=reason,
            )
    error.metadata = {**error.metadata, "purchase_id": record.purchase.purchase_id}
    return error
