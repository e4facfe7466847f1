"""Credits on a real PostgreSQL: however busy a wallet is, every paid purchase is credited once
and soon."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2.errors
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.gift_fees import GiftFee
from account_svc.domain.purchases import PURCHASE, Purchase, PurchaseSagaState, PurchaseState
from account_svc.storage import purchases as storage
from account_svc.storage import wallets
from account_svc.use_cases.gift_fees import GiftFees
from account_svc.use_cases.purchasing.credits import Paid, WalletBusy
from mesh.deadlines import Deadline
from mesh.postgres.database import Database, LostRace
from mesh.saga import rows, turns
from mesh.saga.definition import NewSaga, Saga
from mesh.saga.runner import SagaLimits
from tests.storage.account.busy_wallet import busy_wallet
from tests.storage.account.shop import Shop, buy
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("credits", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Shop:
    await empty(schema)
    return Shop(schema)


@pytest.fixture
async def mira(shop: Shop) -> str:
    return await shop.register()


async def paid_purchase(
    shop: Shop, user_id: str, gems: int = 1, state: str = PurchaseSagaState.PAID
) -> Paid:
    purchase_id = str(uuid4())
    purchase = Purchase(purchase_id, str(uuid4()), user_id, gems, 99, "USD", "credit_card", "fake")

    def store(cursor: Cursor) -> Paid:
        storage.insert_purchases(cursor, [purchase])
        new = NewSaga(purchase_id, user_id)
        sagas = rows.insert(cursor, PURCHASE, state, [new], 60.0)
        return Paid(sagas[purchase_id], purchase)

    return await shop.database.transaction(store)


async def test_a_hundred_purchases_of_one_player_are_all_credited_before_their_deadlines(
    shop: Shop, mira: str
) -> None:
    instances = [shop.instance(limits=SagaLimits())[0] for _ in range(2)]
    turns = asyncio.Semaphore(32)

    async def buy_in_turn(number: int) -> int | None:
        async with turns:
            record = await buy(instances[number % 2], mira, 1, key=str(number // 2), seconds=5.3)
            return record.balance_after_gems

    balances = await asyncio.gather(*(buy_in_turn(number) for number in range(200)))
    assert balances[::2] == balances[1::2]
    assert sorted(balances[::2], key=lambda gems: gems or 0) == list(range(1, 101))
    assert await shop.accounts.balance(mira) == 100


async def test_a_player_who_pulls_without_a_pause_is_credited_between_the_pulls(
    shop: Shop, mira: str
) -> None:
    await shop.accounts.give(mira, 1_000_000)
    purchases, _ = shop.instance(limits=SagaLimits())
    async with busy_wallet(shop.database, mira):
        for number in range(5):
            bought = await buy(purchases, mira, key=str(number), seconds=3.3)
            assert bought.state is PurchaseState.CREDITED


async def test_a_busy_wallet_delays_its_own_purchases_only(shop: Shop, mira: str) -> None:
    noor = await shop.register("noor")
    purchases, _ = shop.instance(limits=SagaLimits())
    async with held(shop.database, lambda cursor: wallets.lock_wallets(cursor, [mira])):
        waiting = [asyncio.create_task(buy(purchases, mira, key=str(n))) for n in range(20)]
        for number in range(5):
            bought = await buy(purchases, noor, key=str(number), seconds=3.3)
            assert bought.state is PurchaseState.CREDITED
        assert not any(task.done() for task in waiting)
    assert {record.state for record in await asyncio.gather(*waiting)} == {PurchaseState.CREDITED}
    assert await shop.accounts.balance(mira) == 2000


async def test_few_transactions_wait_however_many_wallets_are_busy(shop: Shop) -> None:
    players = [await shop.register(f"player-{number}") for number in range(6)]
    for player in players:
        await shop.accounts.give(player, 10)
    credits, fees = shop.credits(), GiftFees(shop.database)
    paid = [await paid_purchase(shop, player) for player in players]

    def waiting_count(cursor: Cursor) -> int:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int((cursor.fetchone() or (0,))[0])

    async with held(shop.database, lambda cursor: wallets.lock_wallets(cursor, players)):
        waiting = [asyncio.create_task(credits.credit(each, Deadline.after(10.0))) for each in paid]
        charging = [
            asyncio.create_task(fees.charge(GiftFee(str(uuid4()), each, 10), Deadline.after(10.0)))
            for each in players
        ]
        counts: list[int] = []
        async with asyncio.timeout(5):
            while len(counts) < 20 or not any(counts):
                counts.append(await shop.database.autocommit(waiting_count))
                await asyncio.sleep(0.01)
        # The database has six connections, of which half may wait.
        assert max(counts) == 3
    await asyncio.gather(*charging)
    assert {saga.state for saga in await asyncio.gather(*waiting)} == {PurchaseSagaState.CREDITED}


async def test_a_wallet_that_stays_busy_is_credited_by_the_next_lease(
    shop: Shop, mira: str
) -> None:
    credits, paid = shop.credits(), await paid_purchase(shop, mira)

    def give_back_and_lease(cursor: Cursor) -> list[Saga]:
        rows.postpone(cursor, paid.saga, WalletBusy.REASON, 1, 0.0)
        return turns.lease_due(cursor, [PURCHASE], 1, 60.0, driven={}, max_of_owner=1)

    async with held(shop.database, lambda cursor: wallets.lock_wallets(cursor, [mira])):
        with pytest.raises(WalletBusy):
            await credits.credit(paid, Deadline.after(0.1))
        [saga] = await shop.database.transaction(give_back_and_lease)
    moved = await credits.credit(replace(paid, saga=saga), Deadline.after(5.0))
    assert (moved.state, await shop.accounts.balance(mira)) == (PurchaseSagaState.CREDITED, 1)


async def test_a_purchase_whose_lease_was_lost_is_not_credited_and_others_are(
    shop: Shop, mira: str
) -> None:
    credits = shop.credits()
    lost, kept = [await paid_purchase(shop, mira, gems) for gems in (1, 2)]
    lost = replace(lost, saga=replace(lost.saga, lease="of another process"))
    outcomes = await asyncio.gather(
        *(credits.credit(each, Deadline.after(5.0)) for each in (lost, kept)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], rows.LeaseLost)
    assert await shop.accounts.balance(mira) == 2
    for each in (lost, kept):
        with pytest.raises(rows.LeaseLost):
            await credits.credit(each, Deadline.after(5.0))
    assert await shop.accounts.balance(mira) == 2


async def test_a_purchase_that_the_database_refuses_fails_alone(shop: Shop, mira: str) -> None:
    credits = shop.credits()
    ended, sound = [await paid_purchase(shop, mira, gems) for gems in (1, 2)]
    await shop.database.transaction(
        lambda cursor: storage.insert_outcome(
            cursor, ended.purchase.purchase_id, PurchaseState.FAILED, "BY_HAND"
        )
    )
    outcomes = await asyncio.gather(
        *(credits.credit(each, Deadline.after(5.0)) for each in (ended, sound)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], psycopg2.errors.UniqueViolation)
    assert await shop.accounts.balance(mira) == 2


class LosesOnce:
    """The database; its first transaction loses every race."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.has_lost = False

    async def transaction(self, work: Callable[[Cursor], Any]) -> Any:
        if not self.has_lost:
            self.has_lost = True
            raise LostRace("lost")
        return await self._database.transaction(work)


async def test_purchases_whose_transaction_lost_its_race_are_credited_one_by_one(
    shop: Shop, mira: str
) -> None:
    database: Any = LosesOnce(shop.database)
    credits = shop.credits(database)
    paid = [await paid_purchase(shop, mira, gems) for gems in (1, 2)]
    moved = await asyncio.gather(*(credits.credit(each, Deadline.after(5.0)) for each in paid))
    assert [saga.state for saga in moved] == ["CREDITED", "CREDITED"]
    assert await shop.accounts.balance(mira) == 3


@pytest.mark.parametrize("state", [PurchaseSagaState.CHARGING, PurchaseSagaState.REFUNDING])
async def test_a_purchase_that_is_not_paid_is_never_credited(
    shop: Shop, mira: str, state: PurchaseSagaState
) -> None:
    unpaid = await paid_purchase(shop, mira, 5, state)
    credits, paid = shop.credits(), await paid_purchase(shop, mira)
    outcomes = await asyncio.gather(
        *(credits.credit(each, Deadline.after(5.0)) for each in (unpaid, paid)),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], AssertionError)
    assert isinstance(outcomes[1], Saga)
    assert await shop.accounts.balance(mira) == 1
    assert (await shop.state_count(state), await shop.state_count("CREDITED")) == (1, 1)


async def test_of_purchases_that_share_a_transaction_those_are_refunded_that_do_not_fit(
    shop: Shop, mira: str
) -> None:
    await shop.fill(mira)
    credits = shop.credits()
    paid = [await paid_purchase(shop, mira) for _ in range(3)]
    moved = await asyncio.gather(*(credits.credit(each, Deadline.after(5.0)) for each in paid))
    assert sorted(saga.state for saga in moved) == ["CREDITED", "REFUNDING", "REFUNDING"]
