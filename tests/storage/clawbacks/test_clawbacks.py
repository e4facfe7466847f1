"""Refunds and disputes of credited purchases, on a real PostgreSQL: gems follow the money, what is
missing is owed, and a debt stops spending until it is paid."""

import asyncio
import itertools
import random
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.clawbacks.gems import CLAWBACK
from account_svc.domain.debits import INSUFFICIENT_CURRENCY, Debit
from account_svc.domain.gift_fees import GiftFee
from account_svc.domain.purchases import PurchaseRecord
from account_svc.domain.reversals import ReversalKind, ReversalState
from account_svc.domain.wallets import WALLET_IN_DEBT, Wallet, WalletInDebt
from account_svc.storage import wallets
from account_svc.use_cases.clawbacks.saga import (
    FOLLOWED,
    clawback_runner,
    follow_reversals,
)
from account_svc.use_cases.debits import apply_debits
from account_svc.use_cases.following import begin_following
from account_svc.use_cases.gift_fees import GiftFees
from mesh.contract.idempotency import operation_id
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.saga.definition import Saga
from mesh.saga.runner import SagaLimits
from mesh.txn.model import No, Operation, Yes
from tests.storage.account.shop import Shop, buy
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.holding import held

PENDING, SETTLED, UNDONE = ReversalState
REFUND, DISPUTE = ReversalKind


INSTANCE_COUNT = 2
LIMITS = SagaLimits(first_pause_seconds=0.02, longest_pause_seconds=0.1)


class Following(Shop):
    """A shop, and what its instances do when the provider reports a reversal."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        runners = [
            clawback_runner(database, self.provider, limits=LIMITS) for _ in range(INSTANCE_COUNT)
        ]
        self._runners = itertools.cycle(runners)

    async def charge_id_of(self, record: PurchaseRecord) -> str:
        return self.provider.book[record.purchase.purchase_id].charge_id

    async def hear_of(self, charge_id: str, event_id: str) -> Saga | None:
        """Follows the charge, as after an event; None when the event came before."""
        runner = next(self._runners)
        begun_count = await self.database.transaction(
            lambda cursor: begin_following(cursor, [charge_id], event_id)
        )
        if not begun_count:
            return None
        current: Saga | None = None
        async with asyncio.timeout(30):
            while current is None or current.state != FOLLOWED:
                await runner.run_once()
                await asyncio.sleep(0.02)
                current = await runner.find(operation_id(CLAWBACK, charge_id, event_id))
        return current

    async def kinds(self, user_id: str) -> list[tuple[str, int, int, int]]:
        """The player's entries, oldest first: kind, amount, balance and debt after it."""
        entries = await self.database.autocommit(
            lambda cursor: wallets.list_ledger(cursor, user_id, None, 100)
        )
        return [
            (each.kind, each.amount_gems, each.balance_after_gems, each.debt_after_gems)
            for each in reversed(entries)
        ]

    async def pull(self, user_id: str, gems: int) -> Yes[int] | No:
        operation = Operation(str(uuid4()), Debit(user_id, gems))
        [vote] = await self.database.transaction(lambda cursor: apply_debits(cursor, [operation]))
        return vote

    async def execute(self, statement: str) -> None:
        # The rules bind the owner too, who has every privilege.
        await as_owner(self.database, lambda cursor: cursor.execute(statement))


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("clawbacks", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Following:
    await empty(schema)
    return Following(schema)


@pytest.fixture
async def mira(shop: Following) -> str:
    return await shop.register()


@pytest.fixture
async def bought(shop: Following, mira: str) -> PurchaseRecord:
    """100 gems for 99 minor units."""
    return await buy(shop.instance()[0], mira)


async def test_a_refund_takes_the_gems_once_however_often_it_is_reported(
    shop: Following, mira: str, bought: PurchaseRecord
) -> None:
    charge_id = await shop.charge_id_of(bought)
    shop.provider.reverse(charge_id, "re_1", 99)
    assert await shop.hear_of(charge_id, "evt_1") is not None
    assert await shop.hear_of(charge_id, "evt_1") is None
    await shop.hear_of(charge_id, "evt_2")
    assert await shop.accounts.wallet(mira) == Wallet(0, 0)
    assert await shop.kinds(mira) == [("purchase", 100, 100, 0), ("refund", -100, 0, 0)]


async def test_spent_gems_become_a_debt_that_the_next_credit_pays_first(
    shop: Following, mira: str, bought: PurchaseRecord
) -> None:
    assert isinstance(await shop.pull(mira, 70), Yes)
    charge_id = await shop.charge_id_of(bought)
    shop.provider.reverse(charge_id, "dp_1", 99, PENDING, DISPUTE)
    await shop.hear_of(charge_id, "evt_1")
    assert await shop.accounts.wallet(mira) == Wallet(0, 70)

    refused = await shop.pull(mira, 1)
    assert isinstance(refused, No)
    assert (refused.reason, refused.metadata) == (WALLET_IN_DEBT, {"debt_gems": "70"})
    fee, fees = GiftFee(str(uuid4()), mira, 20), GiftFees(shop.database)
    with pytest.raises(WalletInDebt):
        await fees.charge(fee, Deadline.after(5))

    purchases, _ = shop.instance()
    assert (await buy(purchases, mira, 50, key="k2")).balance_after_gems == 0
    assert await shop.accounts.wallet(mira) == Wallet(0, 20)
    assert isinstance(await shop.pull(mira, 1), No)
    assert (await buy(purchases, mira, 50, key="k3")).balance_after_gems == 30
    assert isinstance(await shop.pull(mira, 10), Yes)
    refused = await shop.pull(mira, 21)
    assert isinstance(refused, No)
    assert refused.reason == INSUFFICIENT_CURRENCY
    with pytest.raises(WalletInDebt):
        await fees.charge(fee, Deadline.after(5))

    shop.provider.reverse(charge_id, "dp_1", 99, UNDONE, DISPUTE)
    await shop.hear_of(charge_id, "evt_2")
    assert await shop.accounts.wallet(mira) == Wallet(120, 0)
    assert [kind for kind, *_ in await shop.kinds(mira)] == [
        *("purchase", "pull", "dispute", "purchase", "purchase", "pull", "dispute_won"),
    ]


async def test_a_pending_refund_takes_at_once_and_a_failed_one_gives_back(
    shop: Following, mira: str, bought: PurchaseRecord
) -> None:
    charge_id = await shop.charge_id_of(bought)
    balances: list[int] = []
    for state in (PENDING, SETTLED, UNDONE, PENDING):
        shop.provider.reverse(charge_id, "re_1", 33, state)
        await shop.hear_of(charge_id, f"evt_{len(balances)}")
        balances.append(await shop.accounts.balance(mira))
    assert balances == [67, 67, 100, 100]


async def test_the_debt_is_paid_by_a_won_dispute_and_by_a_fee_that_comes_back(
    shop: Following, mira: str, bought: PurchaseRecord
) -> None:
    fees, fee = GiftFees(shop.database), GiftFee(str(uuid4()), mira, 20)
    await fees.charge(fee, Deadline.after(5))
    charge_id = await shop.charge_id_of(bought)
    shop.provider.reverse(charge_id, "dp_1", 99, PENDING, DISPUTE)
    await shop.hear_of(charge_id, "evt_1")
    assert await shop.accounts.wallet(mira) == Wallet(0, 20)
    await fees.refund(fee, Deadline.after(5))
    assert await shop.accounts.wallet(mira) == Wallet(0, 0)


async def test_a_reversal_waits_for_a_purchase_that_is_under_way(
    shop: Following, mira: str
) -> None:
    shop.provider.verdict = "pending"
    pending = await buy(shop.instance()[0], mira, seconds=0.4)
    charge_id = await shop.charge_id_of(pending)
    shop.provider.reverse(charge_id, "re_1", 99)
    following = asyncio.create_task(shop.hear_of(charge_id, "evt_1"))
    await asyncio.sleep(0.1)
    assert not following.done()
    shop.provider.settle()
    await shop.until_ended(mira)
    await following
    assert [kind for kind, *_ in await shop.kinds(mira)] == ["purchase", "refund"]


async def test_a_busy_wallet_is_waited_for(
    shop: Following, mira: str, bought: PurchaseRecord
) -> None:
    charge_id = await shop.charge_id_of(bought)
    shop.provider.reverse(charge_id, "re_1", 99)

    def lock(cursor: Cursor) -> None:
        cursor.execute("SELECT 1 FROM wallet FOR UPDATE")

    async with held(shop.database, lock):
        following = asyncio.create_task(shop.hear_of(charge_id, "evt_1"))
        await asyncio.sleep(0.5)
        assert not following.done()
    await following
    assert await shop.accounts.balance(mira) == 0


async def test_a_charge_of_somebody_else_is_left_alone(shop: Following, mira: str) -> None:
    assert await shop.hear_of("ch_nobody", "evt_1") is not None
    assert await shop.kinds(mira) == []


@pytest.mark.parametrize("seed", range(6))
async def test_events_at_once_and_in_any_order_end_the_same(
    shop: Following, mira: str, bought: PurchaseRecord, seed: int
) -> None:
    shuffle = random.Random(seed)
    assert isinstance(await shop.pull(mira, 60), Yes)
    charge_id = await shop.charge_id_of(bought)
    lives = [
        (f"re_{number}", 20, REFUND, [PENDING, SETTLED, UNDONE][: number + 1])
        for number in range(3)
    ]
    lives.append(("dp_1", 30, DISPUTE, [PENDING, SETTLED]))
    states = [(name, amount, kind, state) for name, amount, kind, known in lives for state in known]
    shuffle.shuffle(states)
    following = []
    for number, (name, amount, kind, state) in enumerate(states):
        known = shop.provider.reversals.get(name)
        if known is None or known.state.is_before(state):
            shop.provider.reverse(charge_id, name, amount, state, kind)
        for _ in range(2):
            following.append(asyncio.create_task(shop.hear_of(charge_id, f"evt_{number}")))
        if shuffle.random() < 0.5:
            await asyncio.sleep(0)
    await asyncio.gather(*following)
    # 20 + 20 + 30 of 99 stand: 70 gems, of which 40 were left.
    assert await shop.accounts.wallet(mira) == Wallet(0, 30)


FORGED = {
    "a debt beside gems": "UPDATE wallet SET debt = 1, entry_count = entry_count + 1",
    "a negative debt": "UPDATE wallet SET balance = 0, debt = -1, entry_count = entry_count + 1",
    "a debt that no entry made": "UPDATE wallet SET balance = 0, debt = 5",
    "an entry that spends a debt": (
        "WITH moved AS (UPDATE wallet SET balance = 0, debt = 5, entry_count = entry_count + 1"
        " RETURNING *) INSERT INTO ledger"
        " (user_id, number, operation_id, kind, amount, balance_after, debt_after)"
        " SELECT user_id, entry_count, gen_random_uuid(), 'pull', -105, 0, 5 FROM moved"
    ),
    "a refund that gives": (
        "WITH moved AS (UPDATE wallet SET balance = 105, entry_count = entry_count + 1"
        " RETURNING *) INSERT INTO ledger"
        " (user_id, number, operation_id, kind, amount, balance_after)"
        " SELECT user_id, entry_count, gen_random_uuid(), 'refund', 5, 105 FROM moved"
    ),
    "more than was bought": (
        "INSERT INTO clawback_total SELECT purchase_id, amount, price_minor, 99, 101 FROM purchase"
    ),
    "less than was given back": (
        "INSERT INTO clawback_total SELECT purchase_id, amount, price_minor, 50, 1 FROM purchase"
    ),
    "the price of another purchase": (
        "INSERT INTO clawback_total SELECT purchase_id, amount, 999, 999, amount FROM purchase"
    ),
}


@pytest.mark.parametrize("forgery", FORGED)
async def test_the_database_refuses(shop: Following, bought: PurchaseRecord, forgery: str) -> None:
    with pytest.raises(psycopg2.IntegrityError):
        await shop.execute(FORGED[forgery])


async def test_a_purchase_that_was_not_credited_has_nothing_to_take(
    shop: Following, mira: str
) -> None:
    shop.provider.verdict = "pending"
    pending = await buy(shop.instance()[0], mira, seconds=0.4)
    charge_id = await shop.charge_id_of(pending)
    await shop.fill(mira)
    shop.provider.settle()
    assert (await shop.until_ended(mira)).reason == "BALANCE_LIMIT"
    before = await shop.kinds(mira)
    shop.provider.reverse(charge_id, "re_1", 99)
    await shop.hear_of(charge_id, "evt_1")
    assert await shop.kinds(mira) == before
    with pytest.raises(psycopg2.IntegrityError):
        await shop.database.transaction(
            lambda cursor: follow_reversals(
                cursor, pending.purchase, tuple(shop.provider.reversals.values())
            )
        )
