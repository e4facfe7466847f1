"""Purchases on a real PostgreSQL with crashes, provider failures and callers that leave: the money
is kept if and only if its gems were credited."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.debits import Debit
from account_svc.domain.payments import (
    ChargeOrder,
    ChargeState,
    PaymentRefunded,
)
from account_svc.domain.purchases import (
    PurchaseState,
)
from account_svc.domain.wallets import BalanceLimit
from account_svc.use_cases.debits import apply_debits
from account_svc.use_cases.purchasing.purchases import Purchases
from mesh.errors import MeshError
from mesh.postgres.database import Database
from mesh.txn.model import Operation
from tests.storage.account.shop import Shop, buy
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.holding import SlowReplies, held


class Killed(BaseException):
    """Ends a task like the death of its process."""


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("purchases", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Shop:
    await empty(schema)
    return Shop(schema)


@pytest.fixture
async def mira(shop: Shop) -> str:
    return await shop.register()


@pytest.fixture
def purchases(shop: Shop) -> Purchases:
    return shop.instance()[0]


@pytest.mark.parametrize("strike", ["request lost", "reply lost"])
async def test_a_provider_that_is_away_is_asked_again_with_the_same_key(
    shop: Shop, purchases: Purchases, mira: str, strike: str
) -> None:
    shop.provider.strikes = [strike] * 3
    buying = asyncio.create_task(buy(purchases, mira))
    while not await shop.purchases_of(mira):
        await asyncio.sleep(0.01)
    await shop.until_ended(mira)
    assert (await buying).balance_after_gems == 100
    assert (len(shop.provider.book), shop.provider.kept_minor()) == (1, 99)


async def test_a_charge_that_is_pending_is_answered_so_and_credited_later(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    shop.provider.verdict = "pending"
    pending = await buy(purchases, mira, seconds=0.4)
    assert (pending.state, pending.ended_at) == (PurchaseState.PENDING, None)
    assert (await buy(purchases, mira, seconds=0.4)).state is PurchaseState.PENDING
    shop.provider.settle()
    await shop.until_ended(mira)
    assert (await buy(purchases, mira)).balance_after_gems == 100
    assert len(shop.provider.book) == 1


async def test_a_provider_slower_than_the_caller_goes_on_without_it(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    shop.provider.gate = asyncio.Event()
    assert (await buy(purchases, mira, seconds=0.35)).state is PurchaseState.PENDING
    shop.provider.gate.set()
    assert (await shop.until_ended(mira)).state is PurchaseState.CREDITED
    assert await shop.accounts.balance(mira) == 100


POINTS = [
    f"saga.purchase.{moment}_{state}"
    for state in ("CHARGING", "PAID", "REFUNDING")
    for moment in ("before", "after", "moved")
]


@pytest.mark.parametrize("point", POINTS)
async def test_another_instance_finishes_the_saga_of_a_dead_one(
    shop: Shop, mira: str, point: str
) -> None:
    died = False

    def die(reached: str) -> None:
        nonlocal died
        if reached == point:
            died = True
            raise Killed

    to_refund = "REFUNDING" in point
    if to_refund:

        async def fill_once() -> None:
            shop.provider.on_charge = None
            await shop.fill(mira)

        shop.provider.on_charge = fill_once
    dying, _ = shop.instance(die)
    with suppress(MeshError):
        await buy(dying, mira, seconds=0.4)
    ended = await shop.until_ended(mira)
    assert died
    assert ended.state is (PurchaseState.REFUNDED if to_refund else PurchaseState.CREDITED)
    assert shop.provider.kept_minor() == (0 if to_refund else 99)
    assert len(shop.provider.refunds) == int(to_refund)


async def test_a_wallet_that_a_pull_holds_delays_the_credit_and_refunds_nothing(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    await shop.accounts.give(mira, 100)

    def pull(cursor: Cursor) -> None:
        apply_debits(cursor, [Operation(str(uuid4()), Debit(mira, 1))])

    async with held(shop.database, pull):
        assert (await buy(purchases, mira, seconds=0.4)).state is PurchaseState.PENDING
        assert shop.provider.kept_minor() == 99
    assert (await shop.until_ended(mira)).state is PurchaseState.CREDITED
    assert (await shop.accounts.balance(mira), shop.provider.refunds) == (199, {})


async def test_gems_that_the_wallet_cannot_hold_any_more_are_refunded_once(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    async def fill_once() -> None:
        shop.provider.on_charge = None
        await shop.fill(mira)
        shop.provider.strikes = ["reply lost"]

    shop.provider.on_charge = fill_once
    with suppress(BalanceLimit):
        await buy(purchases, mira, seconds=0.5)
    refunded = await shop.until_ended(mira)
    assert (refunded.state, refunded.reason) == (PurchaseState.REFUNDED, "BALANCE_LIMIT")
    assert (shop.provider.kept_minor(), len(shop.provider.refunds)) == (0, 1)
    for key in ("k", "k2"):
        with pytest.raises(BalanceLimit):
            await buy(purchases, mira, key=key)
    assert len(shop.provider.book) == 1, "what cannot be credited is not charged for"


async def test_a_charge_refunded_elsewhere_credits_nothing(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    shop.provider.verdict = "pending"
    await buy(purchases, mira, seconds=0.35)
    for key, charge in shop.provider.book.items():
        shop.provider.book[key] = replace(charge, state=ChargeState.REFUNDED)
    ended = await shop.until_ended(mira)
    assert (ended.state, ended.reason) == (PurchaseState.REFUNDED, "PAYMENT_REFUNDED")
    assert await shop.accounts.balance(mira) == 0


async def test_a_buyer_whose_charge_was_refunded_may_buy_again(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    async def refund() -> None:
        shop.provider.on_charge = None
        for key, charge in shop.provider.book.items():
            shop.provider.book[key] = replace(charge, state=ChargeState.REFUNDED)

    shop.provider.on_charge = refund
    with pytest.raises(PaymentRefunded, match="refunded at the provider; buy again"):
        await buy(purchases, mira)
    assert await shop.accounts.balance(mira) == 0
    assert (await buy(purchases, mira, key="another")).state is PurchaseState.CREDITED


async def test_a_purchase_is_never_charged_by_another_provider_than_it_began_with(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    shop.provider.gate = asyncio.Event()
    shop.provider.strikes = ["request lost"]
    await buy(purchases, mira, seconds=0.35)
    shop.provider.name = "other"
    shop.provider.gate.set()
    _, runner = shop.instance()
    [pending] = await shop.purchases_of(mira)
    async with asyncio.timeout(10):
        while True:
            await runner.run_once()
            saga = await runner.find(pending.purchase.purchase_id)
            if saga is not None and saga.reason == "PAYMENT_PROVIDER_CHANGED":
                break
            await asyncio.sleep(0.01)
    assert shop.provider.book == {}
    shop.provider.name = "fake"
    assert (await shop.until_ended(mira)).state is PurchaseState.CREDITED


async def test_an_old_charge_is_searched_for_before_it_is_made(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    shop.provider.verdict = "pending"
    pending = await buy(purchases, mira, seconds=0.35)
    await as_owner(
        shop.database,
        lambda cursor: cursor.execute(
            "UPDATE purchase SET created_at = created_at - interval '2 days'"
        ),
    )
    shop.provider.settle()
    # A provider that has forgotten the key would charge again.
    shop.provider.orders[pending.purchase.purchase_id] = ChargeOrder("", "", 99, "", "")
    assert (await shop.until_ended(mira)).state is PurchaseState.CREDITED


async def test_a_purchase_whose_caller_leaves_while_it_begins_is_credited_at_once(
    shop: Shop, mira: str
) -> None:
    database = SlowReplies(shop.database)
    purchases, _ = Shop(database).instance()
    await database.cancel_after_commit(asyncio.create_task(buy(purchases, mira)))
    async with asyncio.timeout(5):
        while (await shop.purchases_of(mira))[0].state is not PurchaseState.CREDITED:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("leaving", [0, 1])
async def test_of_two_calls_that_begin_a_purchase_together_either_may_leave(
    shop: Shop, mira: str, leaving: int
) -> None:
    database = SlowReplies(shop.database)
    purchases, _ = Shop(database).instance()
    calls = [asyncio.create_task(buy(purchases, mira, seconds=3)) for _ in range(2)]
    await database.cancel_after_commit(calls.pop(leaving))
    assert (await calls[0]).state is PurchaseState.CREDITED
    assert await shop.accounts.balance(mira) == 100
