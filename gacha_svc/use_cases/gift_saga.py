"""The saga of a gift: its steps, their outcomes, and its compensation.

    RESERVED    the items have left the sender's inventory, and are in no other
      -> CHARGED     the account service has taken the fee
      -> RETURNED    the fee was refused, permanently: the sender has the items again
    CHARGED
      -> DELIVERED   the items are in the receiver's inventory: the pivot, and the end
      -> REFUNDING   the receiver's inventory cannot hold them
    REFUNDING
      -> RETURNED    the fee is refunded, and then the items are returned

Any instance may try a step any number of times: calls to the account service have the gift's id,
and local changes commit in the transaction that moves the saga on, which happens once. So an
item is in one inventory or in a running gift, never both, and a fee is kept if and only if its
gift was delivered.
"""

from enum import StrEnum

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.gifts import GIFT, FeeRefused, Gift, GiftFees, InventoryFull
from gacha_svc.storage import gifts as storage
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.saga.definition import Definition, Move, PlainMove, Saga, State


class GiftSagaState(StrEnum):
    """The states of a gift's saga."""

    RESERVED = "RESERVED"
    CHARGED = "CHARGED"
    REFUNDING = "REFUNDING"
    DELIVERED = "DELIVERED"
    RETURNED = "RETURNED"


class GiftSaga:
    """The definition of the saga, over the gacha database and the account service."""

    def __init__(self, database: Database, fees: GiftFees) -> None:
        self._database = database
        self._fees = fees
        self.definition = Definition(
            GIFT,
            GiftSagaState.RESERVED,
            {
                GiftSagaState.RESERVED: State(
                    self._charge, {GiftSagaState.CHARGED, GiftSagaState.RETURNED}
                ),
                GiftSagaState.CHARGED: State(
                    self._deliver, {GiftSagaState.DELIVERED, GiftSagaState.REFUNDING}
                ),
                GiftSagaState.REFUNDING: State(self._refund, {GiftSagaState.RETURNED}),
            },
        )

    async def _charge(self, saga: Saga, deadline: Deadline) -> Move | PlainMove:
        gift = await self._gift(saga)
        try:
            await self._fees.charge(gift, deadline)
        except FeeRefused as refusal:
            return _returning(gift, refusal.reason)
        return PlainMove(GiftSagaState.CHARGED)

    async def _deliver(self, saga: Saga, deadline: Deadline) -> Move:
        gift = await self._gift(saga)

        def apply(cursor: Cursor) -> str:
            storage.wait_briefly_for_locks(cursor)
            if not storage.put_items(cursor, gift.receiver.user_id, gift.item_id, gift.count):
                return GiftSagaState.REFUNDING
            storage.insert_outcome(cursor, gift.gift_id, "")
            return GiftSagaState.DELIVERED

        return Move(apply)

    async def _refund(self, saga: Saga, deadline: Deadline) -> Move:
        gift = await self._gift(saga)
        await self._fees.refund(gift, deadline)
        return _returning(gift, InventoryFull.REASON)

    async def _gift(self, saga: Saga) -> Gift:
        record = await self._database.autocommit(
            lambda cursor: storage.find_gift(cursor, saga.saga_id)
        )
        assert record is not None, "one transaction stores the gift and starts its saga"
        return record.gift


def _returning(gift: Gift, reason: str) -> Move:
    def apply(cursor: Cursor) -> str:
        storage.wait_briefly_for_locks(cursor)
        if not storage.put_items(cursor, gift.sender.user_id, gift.item_id, gift.count):
            raise InventoryFull
        storage.insert_outcome(cursor, gift.gift_id, reason)
        return GiftSagaState.RETURNED

    return Move(apply)
