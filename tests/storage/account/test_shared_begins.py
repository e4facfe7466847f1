"""Purchases that begin at the same time, on a real PostgreSQL: they share their transactions, and a
key has one purchase."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import UserNotFound
from account_svc.domain.purchases import Purchase, PurchaseState
from account_svc.domain.wallets import BalanceLimit
from account_svc.storage import purchases as storage
from account_svc.storage import wallets
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.postgres.database import Database
from mesh.saga.runner import SagaLimits
from tests.storage.account.shop import Shop, buy
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("shared_begins", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Shop:
    await empty(schema)
    return Shop(schema)


@pytest.fixture
async def mira(shop: Shop) -> str:
    return await shop.register()


async def test_purchases_that_arrive_together_share_their_transactions(
    shop: Shop, mira: str
) -> None:
    def transaction_counts(cursor: Cursor) -> tuple[int, int]:
        """Of the begins, and of the moves to PAID."""
        cursor.execute("SELECT count(DISTINCT txid) FROM purchase")
        ((begin_count,),) = cursor.fetchall()
        cursor.execute("SELECT count(DISTINCT txid) FROM saga WHERE state = 'PAID'")
        ((paid_count,),) = cursor.fetchall()
        return begin_count, paid_count

    purchases, _ = shop.instance(limits=SagaLimits())
    async with held(shop.database, lambda cursor: wallets.lock_wallets(cursor, [mira])):
        buying = [asyncio.create_task(buy(purchases, mira, 1, key=str(n))) for n in range(64)]
        async with asyncio.timeout(10):
            while await shop.state_count("PAID") < len(buying):
                await asyncio.sleep(0.01)
        begin_count, paid_count = await shop.database.autocommit(transaction_counts)
    assert 1 <= begin_count <= 8
    assert 1 <= paid_count <= 8
    assert {each.state for each in await asyncio.gather(*buying)} == {PurchaseState.CREDITED}


async def test_transactions_that_record_the_same_purchases_do_so_in_one_order(
    shop: Shop, mira: str
) -> None:
    """Otherwise they would wait for one another."""
    wanted = [
        Purchase(str(uuid4()), str(uuid4()), 1, mira, 1, 99, "USD", "credit_card", "fake")
        for _ in range(20)
    ]
    recorded = await shop.database.transaction(
        lambda cursor: storage.insert_purchases(cursor, wanted)
    )
    in_order = sorted(recorded.values(), key=lambda record: record.number)
    assert [each.purchase.purchase_id for each in in_order] == sorted(recorded)


async def test_a_refused_purchase_leaves_those_alone_that_begin_with_it(
    shop: Shop, mira: str
) -> None:
    await shop.fill(mira)
    purchases, _ = shop.instance()
    begun = [buy(purchases, mira, gems, key=key) for gems, key in [(2, "a"), (1, "a"), (5, "b")]]
    nobody = buy(purchases, str(uuid4()), 1, key="c")
    too_much, fitting, again, unknown = await asyncio.gather(*begun, nobody, return_exceptions=True)
    assert [type(each) for each in (too_much, again, unknown)] == [
        BalanceLimit,
        BalanceLimit,
        UserNotFound,
    ]
    assert not isinstance(fitting, BaseException)
    assert fitting.state is PurchaseState.CREDITED
    assert len(await shop.purchases_of(mira)) == 1


async def test_one_of_the_calls_with_a_key_makes_the_purchase_and_another_body_is_refused(
    shop: Shop, mira: str
) -> None:
    instances = [shop.instance()[0] for _ in range(2)]
    calls = [buy(instances[n % 2], mira, 1 + n // 10, key="k") for n in range(20)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    [stored] = await shop.purchases_of(mira)
    for number, outcome in enumerate(outcomes):
        if 1 + number // 10 == stored.purchase.amount_gems:
            assert not isinstance(outcome, BaseException)
            assert outcome.balance_after_gems == stored.balance_after_gems
        else:
            assert isinstance(outcome, IdempotencyKeyReused)
    assert len(shop.provider.book) == 1
