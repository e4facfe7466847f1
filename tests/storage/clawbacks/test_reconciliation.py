"""The comparison of the provider, the purchases and the ledger, on a real PostgreSQL."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from account_svc.domain.payments import (
    BookedCharge,
    ChargeState,
    PaymentRefunded,
    Period,
    ProviderAway,
)
from account_svc.domain.purchases import PurchaseRecord
from account_svc.domain.reversals import ReversalKind, ReversalState
from account_svc.use_cases.clawbacks.comparison import DAY_SECONDS, EARLIER_DAYS, GRACE_SECONDS
from mesh.postgres.database import Database
from tests.storage.account.shop import Provider, Shop, buy
from tests.storage.clawbacks.compared import Compared
from tests.storage.conftest import MakeDatabase, empty, migrations_of

PENDING, SETTLED, UNDONE = ReversalState


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("reconciliation", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Compared:
    await empty(schema)
    return Compared(schema)


@pytest.fixture
async def bought(shop: Compared) -> PurchaseRecord:
    return await buy(shop.instance()[0], await shop.register())


def charge_id(shop: Shop, record: PurchaseRecord) -> str:
    return shop.provider.book[record.purchase.purchase_id].charge_id


async def test_what_agrees_has_no_difference(shop: Compared, bought: PurchaseRecord) -> None:
    shop.provider.verdict = "declined"
    with pytest.raises(Exception, match="declined"):
        await buy(shop.instance()[0], bought.purchase.user_id, key="k2")
    assert await shop.differences() == {}


async def forgotten_charge(shop: Compared, record: PurchaseRecord) -> None:
    del shop.provider.book[record.purchase.purchase_id]


async def declined_charge(shop: Compared, record: PurchaseRecord) -> None:
    key = record.purchase.purchase_id
    shop.provider.book[key] = replace(shop.provider.book[key], state=ChargeState.DECLINED)


async def other_price(shop: Compared, record: PurchaseRecord) -> None:
    key = record.purchase.purchase_id
    shop.provider.orders[key] = replace(shop.provider.orders[key], amount_minor=98)


async def strange_charge(shop: Compared, record: PurchaseRecord) -> None:
    key, strange = record.purchase.purchase_id, "0f8fad5b-d9cb-469f-a165-70867728950e"
    shop.provider.book[strange] = replace(shop.provider.book[key], key=strange, charge_id="ch_9")
    shop.provider.orders[strange] = shop.provider.orders[key]


async def missed_refund(shop: Compared, record: PurchaseRecord) -> None:
    shop.provider.reverse(charge_id(shop, record), "re_1", 99)


async def lost_outcome(shop: Compared, record: PurchaseRecord) -> None:
    await shop.rows("DELETE FROM purchase_outcome")


DIFFERENCES = {
    forgotten_charge: {"uncharged_credit": 1},
    declined_charge: {"uncharged_credit": 1},
    other_price: {"other_amount": 1},
    strange_charge: {"uncredited_charge": 1},
    missed_refund: {"unfollowed_reversal": 1},
    lost_outcome: {"ledger": 1},
}


@pytest.mark.parametrize("wrong", DIFFERENCES, ids=lambda wrong: wrong.__name__)
async def test_each_difference_is_found_and_named(
    shop: Compared,
    bought: PurchaseRecord,
    wrong: Callable[[Compared, PurchaseRecord], object],
) -> None:
    assert await shop.differences() == {}
    await wrong(shop, bought)  # type: ignore[misc]
    assert await shop.differences() == DIFFERENCES[wrong]  # type: ignore[index]


class StaleList(Provider):
    """Its list of charges was made before any was refunded."""

    async def list_charges(self, period: Period) -> AsyncIterator[BookedCharge]:
        async for each in super().list_charges(period):
            yield replace(each, state=ChargeState.SUCCEEDED)


@pytest.mark.parametrize("state", [ChargeState.REFUNDED, ChargeState.SUCCEEDED])
async def test_a_charge_that_is_refunded_after_it_was_listed_is_looked_up_again(
    shop: Compared, state: ChargeState
) -> None:
    shop.provider = StaleList()
    mira = await shop.register()

    async def refund() -> None:
        for key, charge in shop.provider.book.items():
            shop.provider.book[key] = replace(charge, state=ChargeState.REFUNDED)

    shop.provider.on_charge = refund
    with pytest.raises(PaymentRefunded):
        await buy(shop.instance()[0], mira)
    ((key, charge),) = shop.provider.book.items()
    assert charge.state is ChargeState.REFUNDED
    shop.provider.book[key] = replace(charge, state=state)
    is_kept = state is ChargeState.SUCCEEDED
    assert await shop.differences() == ({"uncredited_charge": 1} if is_kept else {})
    assert await shop.differences(0) == {"uncompared": 1}


async def test_a_refund_whose_webhook_was_lost_is_followed(
    shop: Compared, bought: PurchaseRecord
) -> None:
    await missed_refund(shop, bought)
    reconciliation = shop.reconciliation()
    await reconciliation.run_once()
    assert shop.shown is not None
    assert shop.shown.counts["unfollowed_reversal"] == 1
    await shop.until_owns(bought, 0)
    assert await shop.differences() == {}


async def test_a_pending_dispute_is_read_again_however_old_it_is(
    shop: Compared, bought: PurchaseRecord
) -> None:
    charge, dispute = charge_id(shop, bought), ReversalKind.DISPUTE
    shop.provider.reverse(charge, "dp_1", 99, PENDING, dispute)
    await shop.reconciliation().run_once()
    await shop.until_owns(bought, 0)
    shop.provider.reverse(charge, "dp_1", 99, UNDONE, dispute)
    shop.provider.grow_older(EARLIER_DAYS + 2)
    assert await shop.differences() == {"unfollowed_reversal": 1}
    shop.provider.reversals.clear()
    assert await shop.differences() == {"unknown_reversal": 1}


@pytest.mark.parametrize("age_days", [2, 30, EARLIER_DAYS])
@pytest.mark.parametrize("kind", ReversalKind)
async def test_a_settled_reversal_that_is_undone_later_is_found_after_the_compared_days(
    shop: Compared, bought: PurchaseRecord, kind: ReversalKind, age_days: int
) -> None:
    charge = charge_id(shop, bought)
    shop.provider.reverse(charge, "rv_1", 99, SETTLED, kind)
    await shop.reconciliation().run_once()
    await shop.until_owns(bought, 0)
    shop.provider.grow_older(age_days)
    assert await shop.differences() == {}
    shop.provider.reverse(charge, "rv_1", 99, UNDONE, kind)
    assert await shop.differences() == {"unfollowed_reversal": 1}
    await shop.rows("UPDATE reconciliation SET started_at = started_at - interval '2 hours'")
    await shop.reconciliation().run_once()
    await shop.until_owns(bought, 100)
    assert await shop.differences() == {}


async def test_an_inquiry_that_becomes_a_dispute_later_is_found_after_the_compared_days(
    shop: Compared, bought: PurchaseRecord
) -> None:
    """An inquiry moves no money, so it is no reversal yet, but it was made when it began."""
    shop.provider.reverse(charge_id(shop, bought), "dp_1", 99, PENDING, ReversalKind.DISPUTE)
    shop.provider.grow_older(30)
    assert await shop.differences() == {"unfollowed_reversal": 1}


async def test_earlier_refunds_that_are_not_ours_are_not_looked_up(
    shop: Compared, bought: PurchaseRecord
) -> None:
    for number in range(3):
        shop.provider.reverse(f"ch_{number}", f"re_{number}", 99)
    assert await shop.differences(0) == {"uncompared": 3}
    shop.provider.grow_older(30)
    assert await shop.differences(0) == {}


async def test_one_instance_compares_in_each_period_and_all_show_the_result(
    shop: Compared, bought: PurchaseRecord
) -> None:
    instances = [shop.reconciliation() for _ in range(3)]
    await asyncio.gather(*(each.run_once() for each in instances))
    assert await shop.rows("SELECT count(*), count(ended_at) FROM reconciliation") == [(1, 1)]
    first, shop.shown = shop.shown, None
    await instances[1].run_once()
    assert shop.shown == first
    await shop.rows(
        "UPDATE reconciliation SET started_at = started_at - interval '1 hour 1 second'"
    )
    await instances[2].run_once()
    assert await shop.rows("SELECT count(*), count(ended_at) FROM reconciliation") == [(2, 2)]


@pytest.mark.parametrize("age_days", [10, 400, 500])
async def test_a_comparison_begins_before_the_last_one_that_ended(
    shop: Compared, bought: PurchaseRecord, age_days: int
) -> None:
    await shop.reconciliation().run_once()
    (first,) = await shop.rows("SELECT extract(epoch FROM started_at) FROM reconciliation")
    shop.provider.asked.clear()
    await shop.rows(
        f"UPDATE reconciliation SET started_at = started_at - interval '{age_days} days'"
    )
    await shop.reconciliation().run_once()
    asked = sorted(shop.provider.asked, key=lambda period: period.since)
    started_at = float(str(first[0])) - age_days * DAY_SECONDS
    assert asked[0].since <= started_at - GRACE_SECONDS
    assert asked[-1].until >= time.time() - 1
    for earlier, later in itertools.pairwise(asked):
        assert earlier.until == later.since
        assert earlier.until - earlier.since == DAY_SECONDS


async def test_a_comparison_ends_only_when_what_it_found_is_followed(
    shop: Compared, bought: PurchaseRecord
) -> None:
    await missed_refund(shop, bought)
    await shop.rows("ALTER TABLE saga ADD CONSTRAINT no_clawback CHECK (kind <> 'clawback')")
    try:
        with pytest.raises(psycopg2.IntegrityError):
            await shop.reconciliation().run_once()
    finally:
        await shop.rows("ALTER TABLE saga DROP CONSTRAINT no_clawback")
    assert await shop.rows("SELECT count(*), count(ended_at) FROM reconciliation") == [(1, 0)]
    await shop.rows("UPDATE reconciliation SET started_at = started_at - interval '1 hour'")
    await shop.reconciliation().run_once()
    await shop.until_owns(bought, 0)


async def test_a_comparison_that_died_is_made_again_an_hour_later(
    shop: Compared, bought: PurchaseRecord
) -> None:
    reconciliation = shop.reconciliation()
    shop.provider.strikes = ["request lost"] * 3
    await forgotten_charge(shop, bought)
    with pytest.raises(ProviderAway):
        await reconciliation.run_once()
    shop.provider.strikes = []
    await reconciliation.run_once()
    assert shop.shown is None
    await shop.rows("UPDATE reconciliation SET started_at = started_at - interval '1 hour'")
    await reconciliation.run_once()
    assert shop.shown is not None
    assert shop.shown.counts["uncharged_credit"] == 1


async def test_a_parked_purchase_is_reported_until_it_has_ended(shop: Compared) -> None:
    mira = await shop.register()
    shop.provider.verdict = "pending"
    await buy(shop.instance()[0], mira, seconds=0.4)
    shop.provider.settle()
    assert await shop.differences() == {}
    await shop.rows("UPDATE saga SET is_parked = true, due_at = NULL, lease = ''")
    assert await shop.differences() == {"parked_purchase": 1}
    await shop.rows("UPDATE saga SET is_parked = false, due_at = now()")
    await shop.until_ended(mira)
    assert await shop.differences() == {}
