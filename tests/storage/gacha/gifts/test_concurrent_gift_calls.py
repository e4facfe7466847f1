"""Calls that send one gift at the same moment, or that are cancelled while it begins, on a real
PostgreSQL."""

import asyncio
from pathlib import Path

import pytest

from gacha_svc.domain.gifts import GiftState, Parties, PlayerNotFound
from gacha_svc.storage import inventories
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.gacha.gifts.gift_service import (
    FEE_GEMS,
    MIRA,
    NOOR,
    OLE,
    SWORD,
    Account,
    GiftService,
    send,
)
from tests.storage.holding import SlowReplies, held


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("gifts", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def service(schema: Database) -> GiftService:
    """Mira and Ole own three swords each."""
    await empty(schema)
    await schema.autocommit(
        lambda cursor: cursor.execute("INSERT INTO item VALUES (1, 'Sword', 'rare', 1)")
    )
    service = GiftService(schema)
    await service.owns(MIRA, SWORD, 3)
    await service.owns(OLE, SWORD, 3)
    return service


class SlowAccount(Account):
    """Looks for the players only after another call has sent the gift with the key `k`."""

    def __init__(self, service: GiftService, *, forgets_receiver: bool) -> None:
        super().__init__(service.account.balances)
        self._other_call = service.instance()[0]
        self._forgets_receiver = forgets_receiver

    async def find_players(
        self, to: str, sender_id: str, fee_gems: int, deadline: Deadline
    ) -> Parties:
        await send(self._other_call)
        if self._forgets_receiver:
            self.players = (MIRA,)
        return await super().find_players(to, sender_id, fee_gems, deadline)


@pytest.mark.parametrize("forgets_receiver", [False, True], ids=["fee spent", "receiver gone"])
async def test_a_call_that_would_be_refused_answers_with_the_gift_that_its_key_has_meanwhile(
    service: GiftService, forgets_receiver: bool
) -> None:
    service.account.balances[MIRA.user_id] = FEE_GEMS
    service.account = SlowAccount(service, forgets_receiver=forgets_receiver)
    gifts, _ = service.instance()
    sent = await send(gifts)
    assert sent.state is GiftState.DELIVERED
    assert sent.gift == (await service.gift_of(MIRA)).gift
    assert (await service.held(MIRA), await service.held(NOOR)) == (2, 1)
    assert service.account.balances[MIRA.user_id] == 0


async def test_a_call_that_would_be_refused_may_not_take_the_gift_of_another_request(
    service: GiftService,
) -> None:
    service.account.balances[MIRA.user_id] = FEE_GEMS
    service.account = SlowAccount(service, forgets_receiver=True)
    gifts, _ = service.instance()
    with pytest.raises(IdempotencyKeyReused):
        await send(gifts, count=2)
    with pytest.raises(PlayerNotFound):
        await send(gifts, key="k2")


async def until_delivered(service: GiftService) -> None:
    """No instance takes sagas whose leases expire meanwhile."""
    async with asyncio.timeout(5):
        while (await service.gift_of(MIRA)).state is not GiftState.DELIVERED:
            await asyncio.sleep(0.01)


async def test_a_gift_whose_caller_leaves_while_it_begins_is_delivered_at_once(
    service: GiftService, schema: Database
) -> None:
    database = SlowReplies(schema)
    gifts, _ = service.instance(database=database)
    await database.cancel_after_commit(asyncio.create_task(send(gifts)))
    await until_delivered(service)


async def test_a_gift_whose_caller_leaves_while_it_begins_alone_is_delivered_at_once(
    service: GiftService, schema: Database
) -> None:
    database = SlowReplies(schema)
    gifts, _ = service.instance(database=database)
    async with held(schema, lambda cursor: inventories.put(cursor, MIRA.user_id, SWORD, 1)):
        leaving = asyncio.create_task(send(gifts))
        await asyncio.sleep(2 * inventories.LOCK_TIMEOUT_MS / 1000)
        assert not database.committed.is_set()
    await database.cancel_after_commit(leaving)
    await until_delivered(service)


class Meeting(Account):
    """Answers the first two calls at the same moment, so that their gifts share a transaction."""

    def __init__(self, service: GiftService) -> None:
        super().__init__(service.account.balances)
        self._call_count = 0
        self._have_met = asyncio.Event()

    async def find_players(
        self, to: str, sender_id: str, fee_gems: int, deadline: Deadline
    ) -> Parties:
        self._call_count += 1
        if self._call_count == 2:
            self._have_met.set()
        await self._have_met.wait()
        return await super().find_players(to, sender_id, fee_gems, deadline)


@pytest.mark.parametrize("leaving", [0, 1])
async def test_of_two_calls_that_begin_a_gift_together_either_may_leave(
    service: GiftService, schema: Database, leaving: int
) -> None:
    service.account = Meeting(service)
    database = SlowReplies(schema)
    gifts, _ = service.instance(database=database)
    calls = [asyncio.create_task(send(gifts, deadline=Deadline.after(3))) for _ in range(2)]
    await database.cancel_after_commit(calls.pop(leaving))
    assert (await calls[0]).state is GiftState.DELIVERED
    assert await service.held(NOOR) == 1


async def test_a_gift_that_a_refused_call_with_its_key_came_before_is_delivered_at_once(
    service: GiftService,
) -> None:
    service.account = Meeting(service)
    gifts, _ = service.instance()
    calls = [send(gifts, count=count, deadline=Deadline.after(3)) for count in (1, 99)]
    fitting, too_many = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(too_many, IdempotencyKeyReused)
    assert not isinstance(fitting, BaseException)
    assert fitting.state is GiftState.DELIVERED
