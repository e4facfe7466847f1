"""Gifts that arrive together, on a real PostgreSQL: they share transactions, and disturb one
another no more than if they came alone."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.gifts import (
    GIFT,
    MAX_HOLDING_COUNT,
    GiftState,
    InventoryFull,
    ItemNotOwned,
    TooManyPendingGifts,
)
from gacha_svc.storage import inventories
from gacha_svc.use_cases.gift_begins import GiftBegins
from gacha_svc.use_cases.gift_deliveries import GiftDeliveries
from gacha_svc.use_cases.gift_reads import gift_facts
from gacha_svc.use_cases.gift_saga import GiftSaga
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.saga import turns
from mesh.saga.definition import Saga
from mesh.saga.rows import LeaseLost
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.gacha.gifts.gift_service import (
    FEE_GEMS,
    MAX_PENDING,
    MIRA,
    NOOR,
    OLE,
    SWORD,
    GiftService,
    send,
    soon,
)
from tests.storage.holding import held

T = TypeVar("T")


class CountingDatabase(Database):
    """Another database, with a count of its transactions."""

    def __init__(self, database: Database) -> None:
        super().__init__("postgresql://nowhere")
        self._database = database
        self.transaction_count = 0

    async def transaction(
        self, work: Callable[[Cursor], T], *, lock_timeout_ms: int | None = None
    ) -> T:
        self.transaction_count += 1
        return await self._database.transaction(work, lock_timeout_ms=lock_timeout_ms)

    async def autocommit(self, work: Callable[[Cursor], T]) -> T:
        return await self._database.autocommit(work)


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("gifts", migrations_of(repository, "gacha_svc"))


@pytest.fixture
def database(schema: Database) -> CountingDatabase:
    return CountingDatabase(schema)


@pytest.fixture
async def service(schema: Database, database: CountingDatabase) -> GiftService:
    """Mira and Ole own a hundred swords each, and can pay for them."""
    await empty(schema)
    await database.autocommit(
        lambda cursor: cursor.execute("INSERT INTO item VALUES (1, 'Sword', 'rare', 1)")
    )
    service = GiftService(database)
    for player in (MIRA, OLE):
        await service.owns(player, SWORD, 100)
        service.account.balances[player.user_id] = 100 * FEE_GEMS
    return service


async def test_gifts_that_arrive_together_share_their_transactions(
    service: GiftService, database: CountingDatabase
) -> None:
    gifts, _ = service.instance()
    senders = (MIRA, OLE)
    before = database.transaction_count
    sent = await asyncio.gather(
        *(
            gifts.send(player.user_id, SWORD, "noor", 2, f"key-{number}", soon())
            for number in range(MAX_PENDING)
            for player in senders
        )
    )
    assert {each.state for each in sent} == {GiftState.DELIVERED}
    # Each of the two steps: the first gift alone, and the others together.
    assert database.transaction_count - before <= 5
    assert [await service.held(each) for each in (MIRA, OLE, NOOR)] == [92, 92, 16]


async def test_a_gift_that_is_refused_leaves_those_of_its_transaction_alone(
    service: GiftService,
) -> None:
    await service.owns(NOOR, SWORD, 3)
    gifts, _ = service.instance()
    first = asyncio.create_task(send(gifts, key="first"))
    await asyncio.sleep(0)
    results = await asyncio.gather(
        *(gifts.send(NOOR.user_id, SWORD, "mira", 3, f"k{n}", soon()) for n in range(2)),
        gifts.send(OLE.user_id, 77, "mira", 1, "k", soon()),
        gifts.send(OLE.user_id, SWORD, "mira", 1, "k2", soon()),
        return_exceptions=True,
    )
    await first
    kinds = [type(each) if isinstance(each, Exception) else each.state for each in results]  # type: ignore[union-attr]
    # Noor may be receiving the first gift. Then hers begin alone, in either order.
    assert set(kinds[:2]) == {GiftState.DELIVERED, ItemNotOwned}
    assert kinds[2:] == [ItemNotOwned, GiftState.DELIVERED]
    assert [await service.held(each) for each in (MIRA, OLE, NOOR)] == [103, 99, 1]


async def test_gifts_that_begin_together_count_against_the_bound_of_their_sender(
    service: GiftService,
) -> None:
    gifts, _ = service.instance()
    service.account.strikes = ["request lost"] * 100
    calls = [
        send(gifts, key=str(number), deadline=Deadline.after(0.4))
        for number in range(2 * MAX_PENDING)
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [each for each in results if isinstance(each, TooManyPendingGifts)]
    assert len(refused) == MAX_PENDING
    assert await service.held(MIRA) == 100 - MAX_PENDING


async def test_a_busy_item_delays_its_own_gift_alone(service: GiftService) -> None:
    gifts, _ = service.instance()
    async with held(service.database, lambda c: inventories.put(c, MIRA.user_id, SWORD, 1)):
        waiting = asyncio.create_task(send(gifts))
        for number in range(3):
            async with asyncio.timeout(inventories.LOCK_TIMEOUT_MS / 1000):
                await gifts.send(OLE.user_id, SWORD, "noor", 1, f"k{number}", soon())
        assert not waiting.done()
    assert (await waiting).state is GiftState.DELIVERED


async def test_a_busy_receiver_delays_its_own_gift_alone(service: GiftService) -> None:
    await service.owns(NOOR, SWORD, 1)
    gifts, _ = service.instance()
    async with held(service.database, lambda c: inventories.put(c, NOOR.user_id, SWORD, 1)):
        waiting = asyncio.create_task(send(gifts))
        for number in range(3):
            async with asyncio.timeout(inventories.LOCK_TIMEOUT_MS / 1000):
                await gifts.send(OLE.user_id, SWORD, "mira", 1, f"k{number}", soon())
        assert not waiting.done()
    assert (await waiting).state is GiftState.DELIVERED
    assert await service.held(NOOR) == 3


async def test_of_gifts_that_do_not_all_fit_those_that_fit_are_delivered(
    service: GiftService,
) -> None:
    await service.owns(NOOR, SWORD, MAX_HOLDING_COUNT - 3)
    gifts, _ = service.instance()
    results = await asyncio.gather(
        send(gifts, to="ole", key="first"),
        *(send(gifts, count=2, key=str(number)) for number in range(3)),
        return_exceptions=True,
    )
    assert [isinstance(each, InventoryFull) for each in results].count(True) == 2
    assert await service.held(NOOR) == MAX_HOLDING_COUNT - 1
    assert [await service.held(each) for each in (MIRA, OLE)] == [97, 101]
    assert sum(service.account.kept.values()) == 2 * FEE_GEMS


async def test_a_lost_lease_delivers_nothing_and_holds_up_no_other_gift(
    service: GiftService, schema: Database
) -> None:
    gifts, _ = service.instance()
    service.account.strikes = ["request lost"] * 100
    calls = [send(gifts, key=str(n), deadline=Deadline.after(0.0)) for n in range(MAX_PENDING)]
    sent = {each.gift.gift_id: each.gift for each in await asyncio.gather(*calls)}
    sagas: dict[str, Saga] = {}
    async with asyncio.timeout(5):
        while sagas.keys() != sent.keys():
            due = await schema.autocommit(
                lambda c: turns.lease_due(c, [GIFT], 9, 60.0, driven={}, max_of_owner=9)
            )
            sagas.update({saga.saga_id: saga for saga in due})
            await asyncio.sleep(0.02)
    *_, lost_id = sagas
    await schema.autocommit(
        lambda c: c.execute("UPDATE saga SET lease = 'another' WHERE saga_id = %s", (lost_id,))
    )
    definition = GiftSaga(schema, service.account, gift_facts(schema)).definition
    deliveries = GiftDeliveries(schema, definition)
    results = await asyncio.gather(
        *(deliveries.deliver(saga, sent[gift_id]) for gift_id, saga in sagas.items()),
        return_exceptions=True,
    )
    assert isinstance(results.pop(), LeaseLost)
    assert [each.state for each in results if isinstance(each, Saga)] == ["DELIVERED"] * 3
    assert await service.held(NOOR) == MAX_PENDING - 1
    with pytest.raises(LeaseLost):
        await deliveries.deliver(sagas[lost_id], sent[lost_id])
    assert await service.held(NOOR) == MAX_PENDING - 1


async def test_a_gift_that_another_instance_has_begun_costs_others_of_its_sender_nothing(
    service: GiftService, schema: Database
) -> None:
    await service.owns(NOOR, SWORD, 2)
    gifts, runner = service.instance()
    stored = await gifts.send(NOOR.user_id, SWORD, "mira", 1, "k", soon())
    repeated, last = (replace(stored.gift, gift_id=str(uuid4())) for _ in range(2))
    last = replace(last, intent_id=str(uuid4()))
    facts = gift_facts(schema)
    begins = GiftBegins(schema, runner, facts, refused_an_hour=9, max_pending=9)
    first = replace(last, gift_id=str(uuid4()), intent_id=str(uuid4()), sender=OLE)
    _, found, begun = await asyncio.gather(
        *(begins.begin(gift, soon()) for gift in (first, repeated, last))
    )
    assert (found.record.gift, found.driving) == (stored.gift, None)
    assert (begun.record.gift, begun.driving is not None) == (last, True)
    with pytest.raises(ItemNotOwned):
        await begins.begin(replace(last, gift_id=str(uuid4()), intent_id=str(uuid4())), soon())
    assert await service.held(NOOR) == 0
