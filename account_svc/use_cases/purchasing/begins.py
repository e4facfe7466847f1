"""Begins purchases: one transaction stores each purchase and starts its saga.

Guarantees:
- A key has one purchase, however many calls begin it, in one transaction or in several
  processes. One of the calls gets the saga, which is driven after the commit, also if that call
  has ended.
- A player has `max_pending` purchases under way at most. One beyond is refused before it is stored
  or charged. Instances that begin some at the same moment do not see those of one another.
- Purchases that begin at the same time share a transaction. One that is refused changes nothing
  and leaves the others alone. So does one that waits for a transaction that hangs.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import UserNotFound
from account_svc.domain.prices import Price
from account_svc.domain.purchases import (
    PURCHASE,
    Purchase,
    PurchaseRecord,
    TooManyPendingPurchases,
)
from account_svc.domain.wallets import MAX_BALANCE_GEMS, BalanceLimit
from account_svc.storage import purchases as storage
from account_svc.storage import wallets
from account_svc.use_cases.purchasing.reads import BegunPurchases
from mesh.contract.idempotency import IdempotencyKeyInUse
from mesh.errors import MeshError
from mesh.postgres.database import Database, LockTimeout
from mesh.postgres.shared_transactions import SharedTransactions
from mesh.saga import turns
from mesh.saga.begun import Begun
from mesh.saga.definition import NewSaga, Saga
from mesh.saga.runner import SagaRunner


@dataclass(frozen=True, slots=True)
class Order:
    """What a call wants to buy; `intent_id` follows from the player and the idempotency key."""

    intent_id: str
    user_id: str
    amount_gems: int
    payment_method: str


class PurchaseBegins:
    """The begins of one database. Use it in one event loop only."""

    def __init__(
        self,
        database: Database,
        sagas: SagaRunner,
        facts: BegunPurchases,
        *,
        provider_name: str,
        price: Price,
        max_pending: int,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        """`facts` are those that the sagas read. `provider_name` and `price` apply to new
        purchases, of which a player has `max_pending` under way."""
        self._sagas = sagas
        self._facts = facts
        self._provider_name = provider_name
        self._price = price
        self._max_pending = max_pending
        self._new_id = new_id
        self._transactions = SharedTransactions(database, self._begin, on_commit=self._drive)

    async def begin(self, order: Order) -> Begun[PurchaseRecord]:
        """The purchase of the order's intent, and its saga, which is driven, if this call started
        it. The stored purchase may be one of another order. Raises UserNotFound, BalanceLimit and
        TooManyPendingPurchases, before anything is stored, and IdempotencyKeyInUse while another
        process has begun the purchase and not committed it; a repeat is harmless after any other
        MeshError."""
        try:
            return await self._transactions.run(order)
        except LockTimeout as error:
            raise IdempotencyKeyInUse from error

    def _drive(self, begun: Begun[PurchaseRecord]) -> None:
        if begun.saga is not None:
            self._facts.keep(begun.record)
            begun.drive(self._sagas)

    def _begin(
        self, cursor: Cursor, orders: Sequence[Order]
    ) -> Sequence[Begun[PurchaseRecord] | MeshError]:
        stored = dict(storage.find_by_intents(cursor, {each.intent_id for each in orders}))
        refusals, new = self._judge(
            cursor, [order for order in orders if order.intent_id not in stored]
        )
        sagas: dict[str, Saga] = {}
        if new:
            begun = storage.insert_purchases(cursor, list(new.values()))
            sagas.update(
                self._sagas.begin_all(
                    cursor,
                    PURCHASE,
                    [NewSaga(id, each.purchase.user_id) for id, each in begun.items()],
                )
            )
            stored.update({each.purchase.intent_id: each for each in begun.values()})
            if others := new.keys() - stored.keys():
                # Concurrent transactions have stored these.
                stored.update(storage.find_by_intents(cursor, others))
        return [
            refusals[order]
            if order in refusals
            else Begun(
                record := stored[order.intent_id], sagas.pop(record.purchase.purchase_id, None)
            )
            for order in orders
        ]

    def _judge(
        self, cursor: Cursor, orders: Sequence[Order]
    ) -> tuple[Mapping[Order, MeshError], Mapping[str, Purchase]]:
        """The refusals by order, and the purchases to store by intent: the first order of an
        intent that is not refused makes it. A purchase that cannot be credited is refused
        before it is charged, and is not stored."""
        if not orders:
            return {}, {}
        user_ids = {order.user_id for order in orders}
        found = wallets.find_wallets(cursor, user_ids)
        pending = Counter(turns.count_under_way(cursor, PURCHASE, user_ids))
        refusals: dict[Order, MeshError] = {}
        new: dict[str, Purchase] = {}
        for order in orders:
            if order.intent_id in new:
                continue
            wallet = found.get(order.user_id)
            if wallet is None:
                refusals[order] = UserNotFound()
            elif wallet.net_gems + order.amount_gems > MAX_BALANCE_GEMS:
                refusals[order] = BalanceLimit()
            elif pending[order.user_id] >= self._max_pending:
                refusals[order] = TooManyPendingPurchases()
            else:
                pending[order.user_id] += 1
                new[order.intent_id] = self._purchase(order)
        return refusals, new

    def _purchase(self, order: Order) -> Purchase:
        return Purchase(
            self._new_id(),
            order.intent_id,
            order.user_id,
            order.amount_gems,
            self._price.of(order.amount_gems),
            self._price.currency,
            order.payment_method,
            self._provider_name,
        )
