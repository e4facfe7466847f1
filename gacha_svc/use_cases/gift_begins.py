"""Begins gifts: one transaction takes the items, stores each gift and starts its saga.

Guarantees:
- A key has one gift, however many calls begin it, in one transaction or in several processes. One
  of the calls gets the saga, which is driven after the commit, also if that call has ended.
- A holding is never given twice: its row is locked, and its gifts take from what those before them
  have left.
- A sender begins none while `refused_an_hour` were refused within the last hour, or while
  `max_pending` are under way. Instances that begin some at the same moment do not see those of one
  another.
- Gifts that begin at the same time share a transaction, which waits for no item. One that is
  refused changes nothing and leaves the others alone. One whose item is busy waits for it alone.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Item
from gacha_svc.domain.gifts import (
    GIFT,
    REFUSALS_WINDOW_SECONDS,
    Gift,
    GiftRecord,
    ItemNotOwned,
    TooManyPendingGifts,
    TooManyRefusedGifts,
)
from gacha_svc.storage import gifts as storage
from gacha_svc.storage import inventories
from gacha_svc.storage.inventories import Holding
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.postgres.database import Database, LockTimeout
from mesh.postgres.shared_transactions import SharedTransactions
from mesh.saga import turns
from mesh.saga.begun import Begun
from mesh.saga.definition import NewSaga, Saga
from mesh.saga.facts import Facts
from mesh.saga.runner import SagaRunner

PAUSE_SECONDS = 0.05

Lock = Callable[[Cursor, Collection[Holding]], Mapping[Holding, int]]
"""Locks holdings, and returns how many each of those has that it has locked."""


class GiftBegins:
    """The begins of one database. Use it in one event loop only."""

    def __init__(
        self,
        database: Database,
        sagas: SagaRunner,
        facts: Facts[Gift],
        *,
        refused_an_hour: int,
        max_pending: int,
    ) -> None:
        """`facts` are those that the sagas read."""
        self._database = database
        self._sagas = sagas
        self._facts = facts
        self._refused_an_hour = refused_an_hour
        self._max_pending = max_pending
        self._transactions: SharedTransactions[Gift, Begun[GiftRecord] | None] = SharedTransactions(
            database, partial(self._begin, inventories.lock_free), on_commit=self._drive
        )
        self._alone: set[asyncio.Task[Begun[GiftRecord] | MeshError | None]] = set()

    async def begin(self, gift: Gift, deadline: Deadline) -> Begun[GiftRecord]:
        """The gift of that intent, and its saga, which is driven, if this call started it. The
        stored gift may be another one.

        Raises ItemNotOwned, TooManyRefusedGifts and TooManyPendingGifts, and DeadlineExceeded when
        the item was busy until the deadline; nothing has changed then. A repeat is harmless after
        any other MeshError.
        """
        begun: Begun[GiftRecord] | None = None
        try:
            begun = await self._transactions.run(gift)
        except LockTimeout:
            deadline.check()
        return begun or await self._begin_alone(gift, deadline)

    async def _begin_alone(self, gift: Gift, deadline: Deadline) -> Begun[GiftRecord]:
        """Waits for the item. A pull that is being committed, or another call with the same
        request, holds it."""
        while True:
            attempt = asyncio.create_task(self._attempt_alone(gift), name="lone-gift")
            self._alone.add(attempt)
            attempt.add_done_callback(self._alone.discard)
            # A transaction that has started is finished, and its saga driven, also if this call is
            # cancelled.
            begun = await asyncio.shield(attempt)
            if isinstance(begun, LockTimeout):
                # The timeout is short, and a pause follows, so that the connection is free for
                # others meanwhile.
                deadline.check()
                await asyncio.sleep(PAUSE_SECONDS)
            elif isinstance(begun, MeshError):
                raise begun
            elif begun is not None:
                return begun

    async def _attempt_alone(self, gift: Gift) -> Begun[GiftRecord] | MeshError | None:
        """Returns errors too, because its caller may have left."""
        try:
            (begun,) = await self._database.transaction(
                lambda cursor: self._begin(inventories.wait_for, cursor, [gift]),
                lock_timeout_ms=inventories.LOCK_TIMEOUT_MS,
            )
        except MeshError as error:
            return error
        if isinstance(begun, Begun):
            self._drive(begun)
        return begun

    def _drive(self, begun: Begun[GiftRecord] | None) -> None:
        if begun is not None and begun.saga is not None:
            self._facts.keep(begun.saga.saga_id, begun.record.gift)
            begun.drive(self._sagas)

    def _begin(
        self, lock: Lock, cursor: Cursor, gifts: Sequence[Gift]
    ) -> Sequence[Begun[GiftRecord] | MeshError | None]:
        """None for a gift that has to begin alone, because another transaction holds its item, or
        has begun a gift that was counted against its sender here."""
        wanted = {(gift.sender.user_id, gift.item_id) for gift in gifts}
        held = lock(cursor, wanted)
        unlocked = wanted - held.keys()
        busy = inventories.existing(cursor, unlocked).keys() if unlocked else set[Holding]()
        free = [gift for gift in gifts if (gift.sender.user_id, gift.item_id) not in busy]
        refusals, items, new = self._judge(cursor, free, held)
        begun, sagas = self._store(cursor, new, items)
        is_exact = len(begun) == len(new)
        records = {record.gift.intent_id: record for record in begun}
        # Most intents are new, so the others alone are looked up: after the locks, because another
        # call with the same request held the item.
        if others := {gift.intent_id for gift in gifts} - records.keys():
            records.update(storage.find_by_intents(cursor, others))
        return [
            Begun(record, sagas.pop(record.gift.gift_id, None))
            if (record := records.get(gift.intent_id)) is not None
            else refusals.get(gift.gift_id)
            if is_exact or len(gifts) == 1
            else None
            for gift in gifts
        ]

    def _store(
        self, cursor: Cursor, gifts: Sequence[Gift], items: Mapping[int, Item]
    ) -> tuple[Sequence[GiftRecord], dict[str, Saga]]:
        """The gifts that no other transaction has stored, and their sagas by id."""
        if not gifts:
            return [], {}
        begun = storage.insert_gifts(cursor, gifts, items)
        inventories.take(cursor, _taken([record.gift for record in begun]))
        new = [NewSaga(each.gift.gift_id, each.gift.sender.user_id) for each in begun]
        return begun, dict(self._sagas.begin_all(cursor, GIFT, new))

    def _judge(
        self, cursor: Cursor, gifts: Sequence[Gift], held: Mapping[Holding, int]
    ) -> tuple[Mapping[str, MeshError], Mapping[int, Item], Sequence[Gift]]:
        """The refusals by gift, the items, and the gifts to store: the first one of an intent that
        is not refused."""
        if not gifts:
            return {}, {}, []
        sender_ids = {gift.sender.user_id for gift in gifts}
        waits = storage.seconds_until_admitted(
            cursor, sender_ids, self._refused_an_hour, REFUSALS_WINDOW_SECONDS
        )
        pending = Counter(turns.count_under_way(cursor, GIFT, sender_ids))
        items = storage.find_items(cursor, {gift.item_id for gift in gifts})
        left = Counter(held)
        refusals: dict[str, MeshError] = {}
        new: dict[str, Gift] = {}
        for gift in gifts:
            sender_id = gift.sender.user_id
            holding = (sender_id, gift.item_id)
            if gift.intent_id in new:
                continue
            if sender_id in waits:
                refusals[gift.gift_id] = TooManyRefusedGifts(waits[sender_id])
            elif pending[sender_id] >= self._max_pending:
                refusals[gift.gift_id] = TooManyPendingGifts()
            elif gift.item_id not in items or left[holding] < gift.count:
                refusals[gift.gift_id] = ItemNotOwned(left[holding])
            else:
                pending[sender_id] += 1
                left[holding] -= gift.count
                new[gift.intent_id] = gift
        return refusals, items, list(new.values())


def _taken(gifts: Sequence[Gift]) -> Mapping[Holding, int]:
    taken: Counter[Holding] = Counter()
    for gift in gifts:
        taken[gift.sender.user_id, gift.item_id] += gift.count
    return taken
