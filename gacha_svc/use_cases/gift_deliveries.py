"""Delivers gifts whose fees were taken, many in one transaction.

Guarantees:
- A gift is delivered at most once. The receiver's items, the outcome and the move of the saga
  commit together, and only while the saga's driver holds its lease.
- Gifts that are delivered at the same time share a transaction, which waits for no item. One whose
  receiver's item is busy, or whose inventory cannot hold all of the batch, is delivered alone.
- No deadlock: a transaction that moves gifts changes inventories first, and then sagas in order.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.gifts import Gift, GiftSagaState
from gacha_svc.storage import gifts as storage
from gacha_svc.storage import inventories
from gacha_svc.storage.inventories import Holding
from mesh.postgres.database import Database
from mesh.postgres.shared_transactions import SharedTransactions
from mesh.saga import rows
from mesh.saga.definition import Definition, Saga, Transition


@dataclass(frozen=True, slots=True)
class _Paid:
    """A gift whose fee was taken, and its saga in the state RESERVED."""

    saga: Saga
    gift: Gift

    @property
    def holding(self) -> Holding:
        return self.gift.receiver.user_id, self.gift.item_id


class GiftDeliveries:
    """The deliveries of one database. Use it in one event loop only."""

    def __init__(self, database: Database, definition: Definition) -> None:
        """`definition` is that of the gifts' sagas."""
        self._database = database
        self._definition = definition
        self._transactions: SharedTransactions[_Paid, Saga | None] = SharedTransactions(
            database, self._deliver_free
        )

    async def deliver(self, saga: Saga, gift: Gift) -> Saga:
        """Puts the items into the receiver's inventory and returns the saga in its next state:
        DELIVERED, or REFUNDING when the inventory cannot hold them.

        Raises LeaseLost and LockTimeout, when nothing was changed. After any other MeshError the
        outcome is unknown; a repeat is harmless.
        """
        paid = _Paid(saga, gift)
        moved = await self._transactions.run(paid)
        if moved is not None:
            return moved
        return await self._database.transaction(
            lambda cursor: self._deliver_alone(cursor, paid),
            lock_timeout_ms=inventories.LOCK_TIMEOUT_MS,
        )

    def _deliver_free(self, cursor: Cursor, paid: Sequence[_Paid]) -> Sequence[Saga | None]:
        """None for what has to be delivered alone. Raises LeaseLost when one of several leases was
        lost: then each gift is tried by itself."""
        have_got = inventories.put_into_free(cursor, _gained(paid))
        delivered = [each for each in paid if each.holding in have_got]
        moved: Mapping[str, Saga] = {}
        if delivered:
            moved = self._move(cursor, delivered, GiftSagaState.DELIVERED)
        return [
            rows.moved_or_lost(moved, each.saga) if each.holding in have_got else None
            for each in paid
        ]

    def _deliver_alone(self, cursor: Cursor, paid: _Paid) -> Saga:
        user_id, item_id = paid.holding
        is_put = inventories.put(cursor, user_id, item_id, paid.gift.count)
        state = GiftSagaState.DELIVERED if is_put else GiftSagaState.REFUNDING
        return rows.moved_or_lost(self._move(cursor, [paid], state), paid.saga)

    def _move(
        self, cursor: Cursor, paid: Sequence[_Paid], state: GiftSagaState
    ) -> Mapping[str, Saga]:
        if state is GiftSagaState.DELIVERED:
            storage.insert_outcomes(cursor, [each.gift.gift_id for each in paid], "")
        transitions = [Transition(each.saga, state) for each in paid]
        return rows.move_all(cursor, self._definition, transitions)


def _gained(paid: Sequence[_Paid]) -> Mapping[Holding, int]:
    gained: Counter[Holding] = Counter()
    for each in paid:
        gained[each.holding] += each.gift.count
    return gained
