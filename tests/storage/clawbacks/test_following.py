"""Many charges to follow at once neither crowd an instance nor delay its purchases."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from account_svc.domain.payments import Charge, ChargeState
from account_svc.domain.purchases import PurchaseRecord
from account_svc.domain.reversals import ReversedCharge
from account_svc.use_cases.clawbacks.saga import MAX_RUNNING, clawback_runner
from account_svc.use_cases.following import begin_following
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.saga.runner import SagaLimits
from tests.storage.account.shop import Provider, buy
from tests.storage.clawbacks.compared import Compared
from tests.storage.conftest import MakeDatabase, empty, migrations_of

MANY = 10 * MAX_RUNNING
PATIENT = SagaLimits(step_seconds=60.0, lease_seconds=120.0, max_due=MAX_RUNNING)


@dataclass
class SlowProvider(Provider):
    """A provider that answers sagas about reversals only once `is_open` is set."""

    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: set[str] = field(default_factory=set)

    async def find_reversals(self, charge_id: str, deadline: Deadline) -> ReversedCharge | None:
        task = asyncio.current_task()
        if task is not None and task.get_name() == "saga-clawback":
            self.waiting.add(charge_id)
            try:
                await self.is_open.wait()
            finally:
                self.waiting.discard(charge_id)
        return await super().find_reversals(charge_id, deadline)


class Crowded(Compared):
    """A shop with many reversals of one purchase, each of a charge of its own."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.slow = self.provider = SlowProvider()

    def reverse_many(self, bought: PurchaseRecord) -> None:
        key, book = bought.purchase.purchase_id, self.provider.book
        for number in range(MANY):
            other = f"{key}-{number}"
            book[other] = Charge(key, f"ch_many_{number}", ChargeState.SUCCEEDED)
            self.provider.orders[other] = self.provider.orders[key]
            self.provider.reverse(f"ch_many_{number}", f"re_{number}", 1)


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("following", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Crowded:
    await empty(schema)
    return Crowded(schema)


async def test_a_comparison_that_finds_many_reversals_has_few_followed_at_a_time(
    shop: Crowded,
) -> None:
    shop.reverse_many(await buy(shop.instance()[0], await shop.register()))
    await shop.reconciliation().run_once()
    await asyncio.sleep(0)
    assert shop.slow.waiting == set(), "the runner takes them, and nobody else"
    runner = clawback_runner(shop.database, shop.provider)
    for _ in range(3):
        await runner.run_once()
        await asyncio.sleep(0.1)
        assert len(shop.slow.waiting) == MAX_RUNNING
    shop.slow.is_open.set()
    async with asyncio.timeout(60):
        while await shop.state_count("FOLLOWED") < MANY:
            await runner.run_once()
            await asyncio.sleep(0.02)
    await runner.close()


async def test_a_due_purchase_does_not_wait_for_charges_that_are_followed(shop: Crowded) -> None:
    mira = await shop.register()
    charge_ids = [f"ch_{number}" for number in range(MANY)]
    await shop.database.transaction(lambda cursor: begin_following(cursor, charge_ids, "evt_1"))
    runner = clawback_runner(shop.database, shop.provider, limits=PATIENT)
    await runner.run_once()
    shop.provider.verdict = "pending"
    await buy(shop.instance()[0], mira, seconds=0.4)
    shop.provider.settle()
    assert (await shop.until_ended(mira)).reason == ""
    assert len(shop.slow.waiting) == MAX_RUNNING
    await runner.close()
