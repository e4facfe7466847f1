"""Declined purchases, refused fees and ended sagas are removed after a time, and no money is."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.gift_fees import GiftFee, InsufficientCurrency
from account_svc.domain.payments import PaymentDeclined
from account_svc.domain.purchases import PurchaseState
from account_svc.storage import gift_fees
from account_svc.use_cases.gift_fees import GiftFees
from account_svc.use_cases.purchasing.purchases import Purchases
from account_svc.use_cases.retention import retention_of
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from proof.invariants import CHECKS_OF_ACCOUNT
from tests.storage.account.shop import Shop, buy
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.removals import check_recent_is_kept, functions_with_asserts

REFUSED, ENDED = timedelta(days=30), timedelta(days=90)


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("account_retention", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Shop:
    await empty(schema)
    return Shop(schema)


@pytest.fixture
def sales(shop: Shop) -> Purchases:
    return shop.instance()[0]


async def pass_days(shop: Shop, days: int) -> None:
    def pass_them(cursor: Cursor) -> None:
        for table, column in (
            ("purchase_outcome", "created_at"),
            ("gift_fee", "created_at"),
            ("saga", "updated_at"),
        ):
            cursor.execute(f"UPDATE {table} SET {column} = {column} - %s", (timedelta(days=days),))

    await as_owner(shop.database, pass_them)


async def forget(shop: Shop) -> list[int]:
    """Runs a round, and returns how many purchases, outcomes, sagas and fees are left. The
    invariants hold over what is left."""
    await retention_of(shop.database, refused=REFUSED, ended_sagas=ENDED).run_once()

    def count(cursor: Cursor) -> list[int]:
        for name, statement in CHECKS_OF_ACCOUNT.items():
            cursor.execute(statement)
            assert (name, cursor.fetchall()) == (name, [])
        cursor.execute(
            "SELECT (SELECT count(*) FROM purchase), (SELECT count(*) FROM purchase_outcome),"
            " (SELECT count(*) FROM saga), (SELECT count(*) FROM gift_fee)"
        )
        return list(cursor.fetchone() or ())

    return await shop.database.autocommit(count)


async def test_a_declined_purchase_is_answered_for_its_time_and_then_forgotten(
    shop: Shop, sales: Purchases
) -> None:
    mira = await shop.register()
    shop.provider.verdict = "declined"
    with pytest.raises(PaymentDeclined):
        await buy(sales, mira)
    await pass_days(shop, REFUSED.days - 1)
    assert await forget(shop) == [1, 1, 1, 0]
    shop.provider.verdict = ""
    with pytest.raises(PaymentDeclined):
        await buy(sales, mira)
    await pass_days(shop, 2)
    assert await forget(shop) == [0, 0, 0, 0]
    assert await shop.accounts.balance(mira) == 0


async def test_a_key_that_was_forgotten_buys_anew(shop: Shop, sales: Purchases) -> None:
    mira = await shop.register()
    shop.provider.verdict = "declined"
    with pytest.raises(PaymentDeclined):
        await buy(sales, mira)
    await pass_days(shop, REFUSED.days + 1)
    assert await forget(shop) == [0, 0, 0, 0]
    shop.provider.verdict = ""
    assert (await buy(sales, mira)).state is PurchaseState.CREDITED
    assert await shop.accounts.balance(mira) == 100
    assert len(shop.provider.book) == 2


async def test_of_a_credited_purchase_only_the_saga_is_forgotten(
    shop: Shop, sales: Purchases
) -> None:
    mira = await shop.register()
    bought = await buy(sales, mira)
    await pass_days(shop, ENDED.days + 1)
    assert await forget(shop) == [1, 1, 0, 0]
    repeated = await buy(sales, mira)
    assert (repeated.state, repeated.balance_after_gems) == (PurchaseState.CREDITED, 100)
    assert repeated.purchase == bought.purchase
    assert await shop.accounts.balance(mira) == 100


async def test_a_purchase_under_way_is_never_forgotten(shop: Shop, sales: Purchases) -> None:
    mira = await shop.register()
    shop.provider.verdict = "pending"
    assert (await buy(sales, mira, seconds=0.4)).state is PurchaseState.PENDING
    await pass_days(shop, 5_000)
    assert await forget(shop) == [1, 0, 1, 0]
    shop.provider.settle()
    assert (await shop.until_ended(mira)).state is PurchaseState.CREDITED


async def test_a_refused_fee_is_forgotten_and_a_taken_one_is_not(shop: Shop) -> None:
    mira = await shop.register()
    fees = GiftFees(shop.database)
    refused, taken = (GiftFee(str(uuid4()), mira, 20) for _ in range(2))
    with pytest.raises(InsufficientCurrency):
        await fees.charge(refused, Deadline.after(5))
    await shop.accounts.give(mira, 20)
    await fees.charge(taken, Deadline.after(5))
    await pass_days(shop, REFUSED.days + 1)
    removed_count = await shop.database.autocommit(
        lambda cursor: gift_fees.forget_refused(cursor, REFUSED, 10)
    )
    assert removed_count == 1
    assert await fees.charge(taken, Deadline.after(5)) == 0
    await fees.refund(refused, Deadline.after(5))
    assert await shop.accounts.balance(mira) == 0


async def test_nothing_of_the_last_day_can_be_removed(schema: Database) -> None:
    assert await check_recent_is_kept(schema) == [
        "forget_declined_purchases",
        "forget_ended_sagas",
        "forget_refused_gift_fees",
    ]


async def test_no_function_checks_its_caller_with_an_assert(schema: Database) -> None:
    """Any session can switch them off."""
    assert await schema.autocommit(functions_with_asserts) == []
