"""Gifts on a real PostgreSQL with crashes and failures of the account service: an item is always
in exactly one inventory, and a fee is kept only for a delivered gift."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.errors import InsufficientCurrency
from gacha_svc.domain.gifts import (
    MAX_HOLDING_COUNT,
    GiftState,
    InventoryFull,
)
from gacha_svc.storage import inventories
from gacha_svc.use_cases.gifts import Gifts
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, MeshError
from mesh.postgres.database import Database
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.gacha.gifts.gift_service import (
    FEE_GEMS,
    MIRA,
    NOOR,
    SHIELD,
    SWORD,
    GiftService,
    send,
)
from tests.storage.holding import held

T = TypeVar("T")


class Killed(BaseException):
    """Ends a task like the death of its process."""


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("gifts", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def service(schema: Database) -> GiftService:
    """Mira owns three swords and a shield."""
    await empty(schema)
    await schema.autocommit(
        lambda cursor: cursor.execute(
            "INSERT INTO item VALUES (1, 'Sword', 'rare', 1), (2, 'Shield', 'ultra rare', 2)"
        )
    )
    service = GiftService(schema)
    await service.owns(MIRA, SWORD, 3)
    await service.owns(MIRA, SHIELD, 1)
    return service


@pytest.fixture
def gifts(service: GiftService) -> Gifts:
    return service.instance()[0]


async def test_without_the_fee_the_items_come_back_and_the_key_gives_the_same_answer(
    service: GiftService, gifts: Gifts
) -> None:
    service.account.balances[MIRA.user_id] = FEE_GEMS - 1
    service.account.spends_meanwhile = True
    with pytest.raises(InsufficientCurrency):
        await send(gifts)
    returned = await service.gift_of(MIRA)
    assert (returned.state, returned.reason) == (GiftState.RETURNED, "INSUFFICIENT_CURRENCY")
    assert await service.held(MIRA) == 3
    service.account.balances[MIRA.user_id] = FEE_GEMS
    with pytest.raises(InsufficientCurrency):
        await send(gifts)
    assert await service.held(MIRA) == 3
    sent = await send(gifts, key="k2")
    assert sent.gift.gift_id != returned.gift.gift_id
    assert (await service.held(MIRA), await service.held(NOOR)) == (2, 1)
    assert await send(gifts, key="k2") == sent


async def test_an_undeliverable_gift_is_returned_with_its_fee(
    service: GiftService, gifts: Gifts
) -> None:
    await service.owns(NOOR, SWORD, MAX_HOLDING_COUNT)
    with pytest.raises(InventoryFull):
        await send(gifts)
    assert (await service.held(MIRA), await service.held(NOOR)) == (3, MAX_HOLDING_COUNT)
    assert (service.account.kept, service.account.balances[MIRA.user_id]) == ({}, 100)
    assert (await service.gift_of(MIRA)).reason == "INVENTORY_FULL"


LOST = ["request lost", "reply lost"]


@pytest.mark.parametrize("strike", LOST)
@pytest.mark.parametrize("is_full", [False, True], ids=["delivered", "returned"])
async def test_a_lost_message_is_sent_again_and_takes_effect_once(
    service: GiftService, gifts: Gifts, strike: str, is_full: bool
) -> None:
    service.account.strikes = [strike, strike, "", strike] if is_full else [strike, strike]
    if is_full:
        await service.owns(NOOR, SWORD, MAX_HOLDING_COUNT)
    pending = await send(gifts, deadline=Deadline.after(0.31))
    assert pending.state is GiftState.PENDING
    assert await service.held(MIRA) == 2
    ended = await service.until_ended()
    assert ended.state is (GiftState.RETURNED if is_full else GiftState.DELIVERED)
    assert await service.held(MIRA) == (3 if is_full else 2)
    assert service.account.kept == ({} if is_full else {ended.gift.gift_id: FEE_GEMS})
    assert service.account.strikes == []


POINTS = [
    f"saga.gift.{moment}_{state}"
    for state in ("RESERVED", "REFUNDING")
    for moment in ("before", "after", "moved")
]


ENDS = {
    "delivered": (GiftState.DELIVERED, 1),
    "without the fee": (GiftState.RETURNED, 0),
    "inventory full": (GiftState.RETURNED, MAX_HOLDING_COUNT),
}


PASSED = {
    "delivered": POINTS[:3],
    "without the fee": POINTS[:3],
    "inventory full": POINTS,
}


@pytest.mark.parametrize(
    ("end", "point"), [(end, point) for end, points in PASSED.items() for point in points]
)
async def test_another_instance_finishes_the_saga_of_a_dead_one(
    service: GiftService, end: str, point: str
) -> None:
    if end == "without the fee":
        service.account.balances[MIRA.user_id] = 0
        service.account.spends_meanwhile = True
    if end == "inventory full":
        await service.owns(NOOR, SWORD, MAX_HOLDING_COUNT)
    gems_before = sum(service.account.balances.values())
    deaths: list[str] = []

    def die(reached: str) -> None:
        if reached == point:
            deaths.append(reached)
            raise Killed

    dying, _ = service.instance(failpoint=die)
    with suppress(Killed, MeshError):
        await send(dying, deadline=Deadline.after(0.4))
    async with asyncio.timeout(10):
        while not deaths:
            await asyncio.sleep(0.01)
    assert deaths == [point]
    ended = await service.until_ended()
    state, received = ENDS[end]
    assert ended.state is state
    assert await service.held(NOOR) == received
    is_delivered = state is GiftState.DELIVERED
    assert await service.held(MIRA) == (2 if is_delivered else 3)
    assert service.account.kept == ({ended.gift.gift_id: FEE_GEMS} if is_delivered else {})
    gems_after = sum(service.account.balances.values()) + sum(service.account.kept.values())
    assert gems_after == gems_before


async def test_instances_that_race_for_a_gift_move_it_once(service: GiftService) -> None:
    service.account.strikes = ["reply lost"]
    gifts, _ = service.instance()
    await send(gifts, deadline=Deadline.after(0.0))
    runners = [service.instance()[1] for _ in range(6)]
    async with asyncio.timeout(10):
        while (await service.gift_of(MIRA)).state is GiftState.PENDING:
            await asyncio.gather(*(runner.run_once() for runner in runners))
            await asyncio.sleep(0)
    assert (await service.held(MIRA), await service.held(NOOR)) == (2, 1)
    assert sum(service.account.kept.values()) == FEE_GEMS


async def test_waiting_for_a_pull_in_commit_is_bounded(service: GiftService, gifts: Gifts) -> None:
    def pull(cursor: Cursor) -> None:
        inventories.put(cursor, MIRA.user_id, SWORD, 1)

    async with held(service.database, pull):
        with pytest.raises(DeadlineExceeded):
            await send(gifts, deadline=Deadline.after(0.1))
        sending = asyncio.create_task(send(gifts))
    assert (await sending).state is GiftState.DELIVERED
    assert (await service.held(MIRA), await service.held(NOOR)) == (3, 1)


async def test_an_item_that_stays_held_is_tried_again_with_pauses(service: GiftService) -> None:
    class CountingDatabase(Database):
        attempt_count = 0

        async def transaction(
            self, work: Callable[[Cursor], T], *, lock_timeout_ms: int | None = None
        ) -> T:
            self.attempt_count += 1
            return await service.database.transaction(work, lock_timeout_ms=lock_timeout_ms)

        async def autocommit(self, work: Callable[[Cursor], T]) -> T:
            return await service.database.autocommit(work)

    def pull(cursor: Cursor) -> None:
        inventories.put(cursor, MIRA.user_id, SWORD, 1)

    database = CountingDatabase("postgresql://nowhere")
    gifts, _ = service.instance(database=database)
    async with held(service.database, pull):
        with pytest.raises(DeadlineExceeded):
            await send(gifts, deadline=Deadline.after(0.6))
    assert 2 <= database.attempt_count <= 5


async def test_a_receiver_whose_inventory_is_held_gets_the_gift_later(
    service: GiftService, gifts: Gifts
) -> None:
    await service.owns(NOOR, SWORD, 1)

    def pull(cursor: Cursor) -> None:
        inventories.put(cursor, NOOR.user_id, SWORD, 1)

    async with held(service.database, pull):
        pending = await send(gifts, deadline=Deadline.after(0.8))
        assert pending.state is GiftState.PENDING
    assert (await service.until_ended()).state is GiftState.DELIVERED
    assert await service.held(NOOR) == 3
