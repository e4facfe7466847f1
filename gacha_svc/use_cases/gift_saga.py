"""The saga of a gift: its steps, their outcomes, and its compensation.

    RESERVED    the items have left the sender's inventory, and are in no other; the account
                service takes the fee
      -> DELIVERED   the items are in the receiver's inventory: the pivot, and the end
      -> REFUNDING   the receiver's inventory cannot hold them
      -> RETURNED    the fee was refused, permanently: the sender has the items again
    REFUNDING
      -> RETURNED    the fee is refunded, and then the items are returned

Any instance may try a step any number of times: calls to the account service have the gift's id,
and local changes commit in the transaction that moves the saga on, which happens once. So an
item is in one inventory or in a running gift, never both, and a fee is kept if and only if its
gift was delivered. That a fee was taken is not stored here: the account service gives the stored
outcome of the fee when it is charged again.
"""

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.gifts import (
    GIFT,
    FeeRefused,
    Gift,
    GiftFees,
    GiftSagaState,
    InventoryFull,
)
from gacha_svc.storage import gifts as storage
from gacha_svc.storage import inventories
from gacha_svc.use_cases.gift_deliveries import GiftDeliveries
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.saga.definition import Definition, Move, Saga, SharedMove, State
from mesh.saga.facts import Facts


class GiftSaga:
    """The definition of the saga, over the gacha database and the account service."""

    def __init__(self, database: Database, fees: GiftFees, gifts: Facts[Gift]) -> None:
        self._gifts = gifts
        self._fees = fees
        self.definition = Definition(
            GIFT,
            GiftSagaState.RESERVED,
            {
                GiftSagaState.RESERVED: State(
                    self._charge,
                    {GiftSagaState.DELIVERED, GiftSagaState.REFUNDING, GiftSagaState.RETURNED},
                ),
                GiftSagaState.REFUNDING: State(self._refund, {GiftSagaState.RETURNED}),
            },
        )
        self._deliveries = GiftDeliveries(database, self.definition)

    async def _charge(self, saga: Saga, deadline: Deadline) -> Move | SharedMove:
        gift = await self._gifts.of(saga.saga_id)
        try:
            await self._fees.charge(gift, deadline)
        except FeeRefused as refusal:
            return _returning(gift, refusal.reason)
        return SharedMove(lambda: self._deliveries.deliver(saga, gift))

    async def _refund(self, saga: Saga, deadline: Deadline) -> Move:
        gift = await self._gifts.of(saga.saga_id)
        await self._fees.refund(gift, deadline)
        return _returning(gift, InventoryFull.REASON)


def _returning(gift: Gift, reason: str) -> Move:
    def apply(cursor: Cursor) -> str:
        inventories.wait_briefly_for_locks(cursor)
        if not inventories.put(cursor, gift.sender.user_id, gift.item_id, gift.count):
            raise InventoryFull
        storage.insert_outcome(cursor, gift.gift_id, reason)
        return GiftSagaState.RETURNED

    return Move(apply)
