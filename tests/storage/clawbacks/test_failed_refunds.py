"""A refund of a purchase that was not credited fails: its money is never kept in silence."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from account_svc.domain.payments import ChargeState
from account_svc.domain.purchases import PurchaseRecord, PurchaseState
from account_svc.domain.reversals import ReversalState
from account_svc.use_cases.clawbacks.comparison import EARLIER_DAYS
from account_svc.use_cases.clawbacks.saga import clawback_runner
from account_svc.use_cases.following import begin_following
from mesh.postgres.database import Database
from tests.storage.account.shop import QUICK, buy
from tests.storage.clawbacks.compared import Compared
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.unit.payments.running import until

PENDING, SETTLED, UNDONE = ReversalState


class Refunding(Compared):
    """A shop whose operator refunds what a player is buying, before its charge is known here."""

    async def refund(self, state: ReversalState) -> str:
        """Returns the charge's id."""
        ((key, charge),) = self.provider.book.items()
        kept = ChargeState.SUCCEEDED if state is UNDONE else ChargeState.REFUNDED
        self.provider.book[key] = replace(charge, state=kept)
        self.provider.reverse(charge.charge_id, "re_1", 99, state)
        return charge.charge_id

    async def buy_and_refund(self, user_id: str, state: ReversalState) -> PurchaseRecord:
        async def refund() -> None:
            self.provider.on_charge = None
            await self.refund(state)

        self.provider.on_charge = refund
        return await buy(self.instance()[0], user_id, seconds=0.5)


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("failed_refunds", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Refunding:
    await empty(schema)
    return Refunding(schema)


@pytest.fixture
async def mira(shop: Refunding) -> str:
    return await shop.register()


async def test_a_purchase_waits_for_its_pending_refund_and_is_credited_if_that_fails(
    shop: Refunding, mira: str
) -> None:
    assert (await shop.buy_and_refund(mira, PENDING)).state is PurchaseState.PENDING
    await shop.refund(UNDONE)
    assert (await shop.until_ended(mira)).state is PurchaseState.CREDITED
    assert await shop.accounts.balance(mira) == 100
    assert shop.provider.kept_minor() == 99


async def test_a_purchase_waits_for_its_pending_refund_and_ends_when_that_succeeds(
    shop: Refunding, mira: str
) -> None:
    assert (await shop.buy_and_refund(mira, PENDING)).state is PurchaseState.PENDING
    await shop.refund(SETTLED)
    assert (await shop.until_ended(mira)).state is PurchaseState.REFUNDED
    assert await shop.differences() == {}


@pytest.mark.parametrize("age_days", [0, 2, EARLIER_DAYS])
async def test_a_refund_that_fails_later_is_reported_however_long_ago_it_was_made(
    shop: Refunding, mira: str, age_days: int
) -> None:
    await shop.buy_and_refund(mira, PENDING)
    await shop.refund(SETTLED)
    assert (await shop.until_ended(mira)).state is PurchaseState.REFUNDED
    await shop.refund(UNDONE)
    shop.provider.grow_older(age_days)
    shop.provider.is_list_empty = age_days > 0
    assert await shop.differences() == {"uncredited_charge": 1}
    assert await shop.differences(0) == {"uncompared": 1 if age_days else 2}
    ((key, charge),) = shop.provider.book.items()
    shop.provider.book[key] = replace(charge, state=ChargeState.REFUNDED)
    assert await shop.differences() == {}


async def test_the_event_of_a_refund_that_fails_later_is_an_error_in_the_log(
    shop: Refunding, mira: str
) -> None:
    await shop.buy_and_refund(mira, PENDING)
    await shop.refund(SETTLED)
    await shop.until_ended(mira)
    charge_id = await shop.refund(UNDONE)
    runner = clawback_runner(shop.database, shop.provider, limits=QUICK)
    await shop.database.transaction(lambda cursor: begin_following(cursor, [charge_id], "evt_1"))
    with capture_logs() as logs:
        await runner.run_once()
        await until(lambda: any(each["event"] == "keep_uncredited_money" for each in logs))
    assert [each["log_level"] for each in logs if each["event"] == "keep_uncredited_money"] == [
        "error"
    ]
    await runner.close()


async def test_our_own_refund_is_waited_for_and_never_taken_for_done_when_it_failed(
    shop: Refunding, mira: str
) -> None:
    async def fill() -> None:
        shop.provider.on_charge = None
        await shop.fill(mira)

    shop.provider.on_charge = fill
    shop.provider.on_refund = lambda: shop.refund(PENDING)
    assert (await buy(shop.instance()[0], mira, seconds=0.5)).state is PurchaseState.PENDING
    shop.provider.on_refund = lambda: shop.refund(UNDONE)
    [(reason,)] = await until_reason(shop, "REFUND_FAILED")
    assert reason == "REFUND_FAILED"
    shop.provider.on_refund = None
    shop.provider.reversals.clear()
    await shop.refund(SETTLED)
    assert (await shop.until_ended(mira)).state is PurchaseState.REFUNDED


async def until_reason(shop: Refunding, reason: str) -> list[tuple[object, ...]]:
    """Runs due sagas until the purchase's waits for that reason."""
    _, runner = shop.instance()
    found: list[tuple[object, ...]] = []
    while found != [(reason,)]:
        await runner.run_once()
        found = await shop.rows("SELECT reason FROM saga WHERE kind = 'purchase'")
    await runner.close()
    return found


async def test_a_refund_of_long_before_the_credit_is_followed_without_its_event(
    shop: Refunding, mira: str
) -> None:
    """No comparison reads it as new any more when the purchase is credited at last."""
    shop.provider.verdict = "pending"
    assert (await buy(shop.instance()[0], mira, seconds=0.4)).state is PurchaseState.PENDING
    ((_, charge),) = shop.provider.book.items()
    shop.provider.reverse(charge.charge_id, "re_1", 33)
    shop.provider.grow_older(30)
    await shop.rows("UPDATE purchase SET created_at = created_at - interval '30 days'")
    shop.provider.settle()
    bought = await shop.until_ended(mira)
    assert bought.state is PurchaseState.CREDITED
    await shop.until_owns(bought, 67)
