"""Players take turns: one player's purchases, however many and slow, delay no other's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from account_svc.domain.payments import Charge, ChargeOrder
from account_svc.domain.purchases import PurchaseState, TooManyPendingPurchases
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.rounds import keep_running
from mesh.saga.runner import SagaLimits, SagaRunner
from tests.storage.account.shop import Provider, Shop, buy
from tests.storage.conftest import MakeDatabase, empty, migrations_of

MANY = 500


class SlowFor(Provider):
    """A provider that answers nothing about one player's charges."""

    def __init__(self, user_id: str) -> None:
        super().__init__()
        self._user_id = user_id

    async def charge(self, order: ChargeOrder, deadline: Deadline) -> Charge:
        if order.user_id == self._user_id:
            await asyncio.sleep(60)
        return await super().charge(order, deadline)


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("purchases", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Shop:
    await empty(schema)
    return Shop(schema)


@asynccontextmanager
async def recovering(runner: SagaRunner) -> AsyncIterator[None]:
    """Runs due sagas each second, as the service does."""
    task = asyncio.create_task(keep_running("sagas", runner.run_once))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await runner.close()


@pytest.mark.parametrize("are_fresh", [True, False], ids=["just begun", "long due"])
async def test_many_slow_purchases_of_a_player_delay_no_others(shop: Shop, are_fresh: bool) -> None:
    mira, noor = await shop.register("mira"), await shop.register("noor")
    shop.provider = SlowFor(mira)
    before, stopped = shop.instance(limits=SagaLimits())
    purchases, runner = (before, stopped) if are_fresh else shop.instance(limits=SagaLimits())
    shop.provider.verdict = "pending"
    waiting = await buy(before, noor, key="pending", seconds=0.4)
    calls = [buy(before, mira, 1, key=str(number), seconds=0.4) for number in range(MANY)]
    assert {each.state for each in await asyncio.gather(*calls)} == {PurchaseState.PENDING}
    if not are_fresh:
        await stopped.close()
        await shop.make_due(waiting.purchase.purchase_id)
    shop.provider.verdict = ""
    shop.provider.settle()
    async with recovering(runner), asyncio.timeout(2.5):
        assert (await buy(purchases, noor)).state is PurchaseState.CREDITED
        while (
            await purchases.find(noor, waiting.purchase.purchase_id)
        ).state is PurchaseState.PENDING:
            await asyncio.sleep(0.02)


async def test_a_player_with_too_many_pending_purchases_is_refused_before_a_charge(
    shop: Shop,
) -> None:
    mira, noor = await shop.register("mira"), await shop.register("noor")
    purchases, runner = shop.instance(limits=SagaLimits(), max_pending=8)
    shop.provider.verdict = "pending"
    calls = [buy(purchases, mira, 1, key=str(number), seconds=1.0) for number in range(20)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, TooManyPendingPurchases) for each in answers) == 12
    assert len(await shop.purchases_of(mira)) == len(shop.provider.book) == 8
    assert (await buy(purchases, mira, 1, key="0", seconds=0.4)).state is PurchaseState.PENDING
    with pytest.raises(TooManyPendingPurchases, match="You are not charged for this one"):
        await buy(purchases, mira, 1, key="another")
    shop.provider.verdict = ""
    assert (await buy(purchases, noor)).state is PurchaseState.CREDITED
    shop.provider.settle()
    await shop.make_due((await shop.purchases_of(mira))[0].purchase.purchase_id)
    async with recovering(runner), asyncio.timeout(5):
        while await shop.accounts.balance(mira) < 8:
            await asyncio.sleep(0.02)
    assert (await buy(purchases, mira, 1, key="another")).state is PurchaseState.CREDITED
