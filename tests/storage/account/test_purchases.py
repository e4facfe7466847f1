"""Purchases on a real PostgreSQL: charges, credits, refusals, their display, and what those
share that begin at once."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import UserNotFound
from account_svc.domain.payments import (
    PaymentDeclined,
)
from account_svc.domain.prices import MAX_PURCHASE_GEMS
from account_svc.domain.purchases import (
    Purchase,
    PurchaseNotFound,
    PurchaseState,
)
from account_svc.domain.wallets import MAX_BALANCE_GEMS, BalanceLimit
from account_svc.storage import purchases as storage
from account_svc.storage import wallets
from account_svc.use_cases.purchasing.begins import Order, PurchaseBegins
from account_svc.use_cases.purchasing.purchases import Purchases
from account_svc.use_cases.purchasing.reads import BegunPurchases
from mesh.contract.idempotency import IdempotencyKeyInUse, IdempotencyKeyReused
from mesh.errors import InvalidArgument
from mesh.postgres.database import Database
from mesh.saga.runner import SagaLimits
from tests.storage.account.shop import PRICES, REFUSED, Shop, buy
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held


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


async def test_a_purchase_charges_its_price_and_credits_its_gems(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    bought = await buy(purchases, mira, 150)
    assert (bought.state, bought.balance_after_gems) == (PurchaseState.CREDITED, 150)
    order = shop.provider.orders[bought.purchase.purchase_id]
    assert (order.amount_minor, order.currency, order.user_id) == (149, "USD", mira)
    [entry], _ = await shop.accounts.ledger(mira, 0, "")
    assert (entry.operation_id, entry.kind) == (bought.purchase.purchase_id, "purchase")


async def test_one_key_is_one_purchase_however_often_and_at_once(shop: Shop, mira: str) -> None:
    instances = [shop.instance()[0] for _ in range(3)]
    answers = await asyncio.gather(*(buy(each, mira) for each in instances * 3))
    await buy(instances[0], mira, 7, key="k2")
    answers.append(await buy(instances[0], mira))
    assert {answer.balance_after_gems for answer in answers} == {100}
    assert await shop.accounts.balance(mira) == 107
    assert len(shop.provider.book) == 2


@pytest.mark.parametrize(("gems", "method"), [(101, "credit_card"), (100, "paypal")])
@pytest.mark.parametrize("verdict", ["", "declined"])
async def test_a_key_with_another_body_is_refused_however_the_first_ended(
    shop: Shop, purchases: Purchases, mira: str, gems: int, method: str, verdict: str
) -> None:
    shop.provider.verdict = verdict
    with suppress(PaymentDeclined):
        await buy(purchases, mira)
    with pytest.raises(IdempotencyKeyReused):
        await buy(purchases, mira, gems, method)
    assert len(await shop.purchases_of(mira)) == 1


async def test_two_players_may_use_the_same_key(shop: Shop, purchases: Purchases) -> None:
    first, second = await shop.register(), await shop.register("noor")
    assert (await buy(purchases, first, 1)).balance_after_gems == 1
    assert (await buy(purchases, second, 2)).balance_after_gems == 2


@pytest.mark.parametrize("verdict", REFUSED)
async def test_a_refused_charge_costs_nothing_and_its_key_gives_the_same_answer(
    shop: Shop, purchases: Purchases, mira: str, verdict: str
) -> None:
    shop.provider.verdict = verdict
    kind, reason = REFUSED[verdict]
    with pytest.raises(kind) as caught:
        await buy(purchases, mira)
    [failed] = await shop.purchases_of(mira)
    assert (caught.value.reason, failed.reason) == (reason, reason)
    assert caught.value.metadata["purchase_id"] == failed.purchase.purchase_id
    assert (failed.state, shop.provider.kept_minor()) == (PurchaseState.FAILED, 0)
    shop.provider.verdict = ""
    await shop.fill(mira)
    with pytest.raises(kind) as repeated:
        await buy(purchases, mira)
    assert (repeated.value.message, repeated.value.metadata) == (
        caught.value.message,
        caught.value.metadata,
    ), "the stored refusal comes before the wallet's limit, which was reached since"
    assert (len(await shop.purchases_of(mira)), shop.provider.kept_minor()) == (1, 0)
    assert (await buy(purchases, mira, 1, key="k2")).state is PurchaseState.CREDITED


async def test_a_refused_purchase_that_is_repeated_at_once_is_charged_for_once(
    shop: Shop, mira: str
) -> None:
    shop.provider.verdict = "declined"
    instances = [shop.instance()[0] for _ in range(3)]
    answers = await asyncio.gather(
        *(buy(each, mira) for each in instances * 3), return_exceptions=True
    )
    assert {type(answer) for answer in answers} == {PaymentDeclined}
    assert len(shop.provider.book) == 1


async def test_a_purchase_beyond_the_wallet_limit_is_refused_before_the_charge(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    await shop.fill(mira)
    with pytest.raises(BalanceLimit):
        await buy(purchases, mira, 2)
    assert shop.provider.book == {}
    assert (await buy(purchases, mira, 1)).balance_after_gems == MAX_BALANCE_GEMS


@pytest.mark.parametrize("gems", [0, -1, MAX_PURCHASE_GEMS + 1])
async def test_amounts_out_of_bounds_are_refused_by_name(purchases: Purchases, gems: int) -> None:
    with pytest.raises(InvalidArgument, match=r"^amount must be 1 to 1,000,000,000"):
        await buy(purchases, str(uuid4()), gems)


async def test_a_player_who_does_not_exist_buys_nothing(shop: Shop, purchases: Purchases) -> None:
    with pytest.raises(UserNotFound):
        await buy(purchases, str(uuid4()))
    assert shop.provider.book == {}


async def test_players_see_their_own_purchases_page_by_page(
    shop: Shop, purchases: Purchases, mira: str
) -> None:
    noor = await shop.register("noor")
    bought = [await buy(purchases, mira, gems, key=str(gems)) for gems in (1, 2, 3)]
    page, token = await purchases.history(mira, 2, "")
    rest, end = await purchases.history(mira, 2, token)
    assert [each.purchase.amount_gems for each in page + rest] == [3, 2, 1]
    assert (end, await purchases.history(noor, 0, "")) == ("", ([], ""))
    purchase_id = bought[0].purchase.purchase_id
    assert (await purchases.find(mira, purchase_id)).purchase == bought[0].purchase
    for user_id, sought in ((noor, purchase_id), (mira, str(uuid4()))):
        with pytest.raises(PurchaseNotFound):
            await purchases.find(user_id, sought)


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

    purchases, _ = shop.instance(limits=SagaLimits(max_of_owner=64))
    async with held(shop.database, lambda cursor: wallets.lock_wallets(cursor, [mira])):
        buying = [asyncio.create_task(buy(purchases, mira, 1, key=str(n))) for n in range(64)]
        async with asyncio.timeout(10):
            while await shop.state_count("PAID") < len(buying):
                await asyncio.sleep(0.01)
        begin_count, paid_count = await shop.database.autocommit(transaction_counts)
    assert 1 <= begin_count <= 8
    assert 1 <= paid_count <= 8
    assert {each.state for each in await asyncio.gather(*buying)} == {PurchaseState.CREDITED}


class Counted:
    """A database that counts what it does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.room_to_wait = database.room_to_wait
        self.counts: Counter[str] = Counter()

    async def transaction(self, work: Callable[[Cursor], object], **options: Any) -> object:
        self.counts["transactions"] += 1
        return await self._database.transaction(work, **options)

    async def autocommit(self, work: Callable[[Cursor], object]) -> object:
        self.counts["reads"] += 1
        return await self._database.autocommit(work)


async def test_a_purchase_takes_three_transactions_and_reads_nothing_again(
    shop: Shop, mira: str
) -> None:
    counted: Any = Counted(shop.database)
    counting = Shop(counted)
    bought = await buy(counting.instance(limits=SagaLimits())[0], mira, 7)
    assert counted.counts == {"transactions": 3}
    assert (bought.state, bought.balance_after_gems) == (PurchaseState.CREDITED, 7)
    assert (await shop.purchases_of(mira))[0].balance_after_gems == 7


async def test_a_purchase_whose_transaction_hangs_elsewhere_holds_up_no_other(
    shop: Shop, mira: str
) -> None:
    name, price = shop.provider.name, PRICES.price
    begins = PurchaseBegins(
        shop.database,
        shop.instance()[1],
        BegunPurchases(shop.database),
        provider_name=name,
        price=price,
        max_pending=64,
    )
    hanging = Order(str(uuid4()), mira, 1, "credit_card")
    stored = Purchase(str(uuid4()), hanging.intent_id, mira, 1, 99, "USD", "credit_card", "fake")
    others = [
        Order(str(uuid4()), await shop.register(player), 1, "credit_card")
        for player in ("bela", "dora")
    ]
    async with held(shop.database, lambda cursor: storage.insert_purchases(cursor, [stored])):
        waiting = asyncio.create_task(begins.begin(hanging))
        async with asyncio.timeout(3):
            for order in others:
                begun = await begins.begin(order)
                assert begun.driving is not None
                assert begun.record.purchase.user_id == order.user_id
        with pytest.raises(IdempotencyKeyInUse):
            await waiting
    found = await begins.begin(hanging)
    assert (found.record.purchase, found.driving) == (stored, None)


async def test_transactions_that_record_the_same_purchases_do_so_in_one_order(
    shop: Shop, mira: str
) -> None:
    """Otherwise they would wait for one another."""
    wanted = [
        Purchase(str(uuid4()), str(uuid4()), mira, 1, 99, "USD", "credit_card", "fake")
        for _ in range(20)
    ]
    recorded = await shop.database.transaction(
        lambda cursor: storage.insert_purchases(cursor, wanted)
    )
    in_order = sorted(recorded.values(), key=lambda record: record.number)
    intents = [each.purchase.intent_id for each in in_order]
    assert intents == sorted(intents)


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
