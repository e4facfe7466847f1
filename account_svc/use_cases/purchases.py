"""Makes purchases, and reports their outcomes."""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import UserNotFound
from account_svc.domain.payments import (
    PaymentDeclined,
    PaymentMethodExpired,
    PaymentRefunded,
    UnsupportedAmount,
    UnsupportedPaymentMethod,
)
from account_svc.domain.purchases import (
    FIRST_ATTEMPT,
    PURCHASE,
    Price,
    Purchase,
    PurchaseNotFound,
    PurchaseRecord,
    PurchaseState,
    check_purchase,
)
from account_svc.domain.wallets import MAX_BALANCE_GEMS, BalanceLimit
from account_svc.storage import purchases as storage
from account_svc.storage import wallets
from account_svc.use_cases.purchase_reads import purchase_reads
from mesh.contract.idempotency import IdempotencyKeyReused, checked_key, operation_id
from mesh.contract.pages import checked_page_size, key_of
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.postgres.database import Database
from mesh.saga.answering import record_in_time
from mesh.saga.definition import Saga
from mesh.saga.runner import SagaRunner

PURCHASES_PAGE_SIZE, MAX_PURCHASES_PAGE_SIZE = 20, 100


class Purchases:
    """Purchases over the account database and the sagas."""

    def __init__(
        self, database: Database, sagas: SagaRunner, *, provider_name: str, price: Price
    ) -> None:
        """`provider_name` and `price` apply to new purchases."""
        self._database = database
        self._reads = purchase_reads(database)
        self._sagas = sagas
        self._provider_name = provider_name
        self._price = price

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
        continues in the background. A purchase that ended is answered as it ended, also if it
        was refused: a new attempt needs a new key. Raises InvalidArgument,
        IdempotencyKeyReused, UserNotFound, BalanceLimit, PaymentDeclined,
        PaymentMethodExpired, PaymentRefunded, UnsupportedPaymentMethod, UnsupportedAmount; no
        money is kept then. After any other MeshError the outcome is unknown: repeat the key.
        """
        check_purchase(amount_gems, payment_method)
        intent_id = operation_id(PURCHASE, user_id, checked_key(idempotency_key))

        def begin(cursor: Cursor) -> tuple[PurchaseRecord, Saga | None]:
            return self._begin(cursor, user_id, intent_id, amount_gems, payment_method)

        begun, saga = await self._database.transaction(begin)
        if not begun.purchase.matches(amount_gems, payment_method):
            raise IdempotencyKeyReused
        ended = await self._end(begun, saga, deadline)
        if ended.state.is_refused:
            raise _refused(ended)
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
        size = checked_page_size(
            page_size, default=PURCHASES_PAGE_SIZE, maximum=MAX_PURCHASES_PAGE_SIZE
        )
        before = key_of(page_token)
        records = await self._database.autocommit(
            lambda cursor: storage.list_purchases(cursor, user_id, before, size + 1)
        )
        page = records[:size]
        return page, str(page[-1].number) if len(records) > size else ""

    def _begin(
        self,
        cursor: Cursor,
        user_id: str,
        intent_id: str,
        amount_gems: int,
        payment_method: str,
    ) -> tuple[PurchaseRecord, Saga | None]:
        """The purchase, and its saga if this call started it. A purchase that cannot be credited
        is refused before it is charged, and is not stored. Raises UserNotFound, BalanceLimit."""
        stored = storage.find_last_attempt(cursor, intent_id)
        if stored is not None:
            return stored, None
        wallet = wallets.find_wallets(cursor, [user_id]).get(user_id)
        if wallet is None:
            raise UserNotFound
        if wallet.balance_gems - wallet.debt_gems + amount_gems > MAX_BALANCE_GEMS:
            raise BalanceLimit
        purchase = Purchase(
            operation_id(PURCHASE, intent_id, str(FIRST_ATTEMPT)),
            intent_id,
            FIRST_ATTEMPT,
            user_id,
            amount_gems,
            self._price.of(amount_gems),
            self._price.currency,
            payment_method,
            self._provider_name,
        )
        begun = storage.insert_purchase(cursor, purchase)
        if begun is not None:
            return begun, self._sagas.begin(cursor, PURCHASE, purchase.purchase_id, {})
        stored = storage.find_purchase(cursor, purchase.purchase_id)
        assert stored is not None, "a concurrent call has stored the purchase"
        return stored, None

    async def _end(
        self, begun: PurchaseRecord, saga: Saga | None, deadline: Deadline
    ) -> PurchaseRecord:
        """The purchase once it has ended, or its state shortly before the deadline."""
        if begun.state is not PurchaseState.PENDING:
            return begun

        async def find() -> PurchaseRecord:
            stands = await self._find(begun.purchase.purchase_id)
            assert stands is not None, "a purchase is never removed"
            return stands

        return await record_in_time(
            find,
            lambda record: record.state is PurchaseState.PENDING,
            None if saga is None else self._sagas.drive(saga),
            deadline,
        )

    async def _find(self, purchase_id: str) -> PurchaseRecord | None:
        return await self._reads.get(purchase_id)


def _refused(record: PurchaseRecord) -> MeshError:
    """The error for a purchase that was not credited. It is the same for every repeat."""
    error: MeshError
    match record.reason:
        case BalanceLimit.REASON:
            error = BalanceLimit()
        case UnsupportedPaymentMethod.REASON:
            error = UnsupportedPaymentMethod.of(record.purchase.payment_method)
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
