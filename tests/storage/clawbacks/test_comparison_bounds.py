"""A comparison asks the provider a bounded number of questions, says what it left out, and leaves
other things out the next time."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from account_svc.domain.purchases import PurchaseRecord
from account_svc.domain.reversals import ReversalKind, ReversalState
from account_svc.use_cases.clawbacks.comparison import EARLIER_DAYS
from mesh.postgres.database import Database
from tests.storage.account.shop import buy
from tests.storage.clawbacks.compared import Compared
from tests.storage.conftest import MakeDatabase, empty, migrations_of

PENDING, SETTLED, UNDONE = ReversalState
COUNT = 3


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("comparison_bounds", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Compared:
    await empty(schema)
    return Compared(schema)


@pytest.fixture
async def purchases(shop: Compared) -> list[PurchaseRecord]:
    """Purchases of one player."""
    mira = await shop.register()
    return [await buy(shop.instance()[0], mira, key=f"k{number}") for number in range(COUNT)]


def reverse_all(
    shop: Compared,
    purchases: list[PurchaseRecord],
    state: ReversalState = SETTLED,
    kind: ReversalKind = ReversalKind.REFUND,
) -> None:
    for number, each in enumerate(purchases):
        charge_id = shop.provider.book[each.purchase.purchase_id].charge_id
        shop.provider.reverse(charge_id, f"dp_{number}", 99, state, kind)


async def have_open_disputes(shop: Compared, purchases: list[PurchaseRecord]) -> None:
    """Disputes that are followed, and are open still."""
    reverse_all(shop, purchases, PENDING, ReversalKind.DISPUTE)
    await shop.reconciliation().run_once()
    await shop.until_owns(purchases[0], 0)
    assert await shop.differences() == {}


def forget_charges(shop: Compared, purchases: list[PurchaseRecord]) -> None:
    shop.provider.book.clear()


Wrong = Callable[[Compared, list[PurchaseRecord]], None]
BOUNDS: dict[Wrong, str] = {forget_charges: "uncharged_credit", reverse_all: "unfollowed_reversal"}


@pytest.mark.parametrize("wrong", BOUNDS, ids=["charges", "reversals"])
@pytest.mark.parametrize("max_lookups", [0, 1, COUNT - 1, COUNT])
async def test_what_is_not_looked_up_is_said(
    shop: Compared,
    purchases: list[PurchaseRecord],
    max_lookups: int,
    wrong: Wrong,
) -> None:
    wrong(shop, purchases)
    wanted = {BOUNDS[wrong]: max_lookups, "uncompared": COUNT - max_lookups}
    assert await shop.differences(max_lookups) == {kind: n for kind, n in wanted.items() if n}


async def test_each_pending_reversal_has_its_turn_when_they_are_too_many_for_one_comparison(
    shop: Compared, purchases: list[PurchaseRecord]
) -> None:
    await have_open_disputes(shop, purchases)
    reverse_all(shop, purchases, UNDONE, ReversalKind.DISPUTE)
    shop.provider.grow_older(EARLIER_DAYS + 2)
    assert await shop.differences() == {"unfollowed_reversal": COUNT}
    found: set[str] = set()
    async with asyncio.timeout(30):
        while len(found) < COUNT:
            assert await shop.differences(1) == {"unfollowed_reversal": 1, "uncompared": COUNT - 1}
            found.update(shop.to_follow)


async def test_pending_reversals_of_another_provider_are_left_alone(
    shop: Compared, purchases: list[PurchaseRecord]
) -> None:
    await have_open_disputes(shop, purchases)
    shop.provider.reversals.clear()
    assert await shop.differences() == {"unknown_reversal": COUNT}
    shop.provider.name = "another"
    assert await shop.differences() == {}
