"""Debits that are made again, on a real PostgreSQL: what a wallet does not hold, it owes."""

from pathlib import Path
from uuid import uuid4

import psycopg2.errors
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import USER_NOT_FOUND
from account_svc.domain.debits import OWED_PULL, PULL, Debit
from account_svc.domain.wallets import BalanceChange, Wallet
from account_svc.storage import wallets
from account_svc.use_cases.debits import apply_debits, apply_owed_debits
from mesh.postgres.database import Database
from mesh.txn.model import BUSY, DUPLICATE, No, Operation, Vote, Yes
from tests.storage.account.shop import Shop
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held

PRICE = 160


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("owed_debits", migrations_of(repository, "account_svc"))


@pytest.fixture
async def shop(schema: Database) -> Shop:
    await empty(schema)
    return Shop(schema)


def debit(user_id: str) -> Operation[Debit]:
    return Operation(str(uuid4()), Debit(user_id, PRICE))


async def change(shop: Shop, user_id: str, kind: str, gems: int, may_owe: bool = False) -> None:
    each = BalanceChange(str(uuid4()), user_id, kind, gems, may_owe)
    await shop.database.transaction(lambda cursor: wallets.change_balances(cursor, [each]))


async def player(shop: Shop, net_gems: int) -> str:
    """A player whose wallet holds, or owes, that many gems."""
    user_id = await shop.register(f"player-{uuid4().hex[:8]}")
    if net_gems > 0:
        await change(shop, user_id, "purchase", net_gems)
    elif net_gems < 0:
        await change(shop, user_id, "dispute", net_gems, may_owe=True)
    return user_id


async def debit_again(shop: Shop, *operations: Operation[Debit]) -> list[Vote[int]]:
    return await shop.database.transaction(lambda cursor: apply_owed_debits(cursor, operations))


async def wallet_and_kinds(shop: Shop, user_id: str) -> tuple[Wallet, list[tuple[str, int]]]:
    """The wallet, and the kinds and amounts of its entries, newest first."""

    def select(cursor: Cursor) -> tuple[Wallet, list[tuple[str, int]]]:
        entries = wallets.list_ledger(cursor, user_id, None, 100)
        found = wallets.find_wallets(cursor, [user_id])[user_id]
        return found, [(each.kind, each.amount_gems) for each in entries]

    return await shop.database.transaction(select)


@pytest.mark.parametrize(
    ("net_gems", "after"),
    [
        pytest.param(PRICE + 40, Wallet(40, 0), id="all is there"),
        pytest.param(PRICE, Wallet(0, 0), id="just enough is there"),
        pytest.param(PRICE - 1, Wallet(0, 1), id="a part was spent"),
        pytest.param(0, Wallet(0, PRICE), id="all was spent"),
        pytest.param(-30, Wallet(0, PRICE + 30), id="it owed before"),
    ],
)
async def test_a_debit_that_is_made_again_takes_the_price_or_leaves_it_as_a_debt(
    shop: Shop, net_gems: int, after: Wallet
) -> None:
    user_id = await player(shop, net_gems)
    again = debit(user_id)
    assert await debit_again(shop, again) == [Yes(after.balance_gems)]
    found, entries = await wallet_and_kinds(shop, user_id)
    assert found == after
    assert entries[0] == (OWED_PULL, -PRICE)
    assert await debit_again(shop, again) == [No(DUPLICATE)]
    assert await wallet_and_kinds(shop, user_id) == (found, entries)


async def test_what_was_debited_before_or_is_held_or_missing_is_not_debited_again(
    shop: Shop,
) -> None:
    paid, busy, broke = [await player(shop, gems) for gems in (2 * PRICE, PRICE, 0)]
    before = debit(paid)
    assert await shop.database.transaction(lambda cursor: apply_debits(cursor, [before])) == [
        Yes(PRICE)
    ]
    operations = [before, debit(busy), debit(broke), debit(str(uuid4()))]
    async with held(shop.database, lambda cursor: wallets.lock_wallets(cursor, [busy])):
        votes = await debit_again(shop, *operations)
    reasons = [None if isinstance(vote, Yes) else vote.reason for vote in votes]
    assert reasons == [DUPLICATE, BUSY, None, USER_NOT_FOUND]
    assert (await wallet_and_kinds(shop, paid))[0] == Wallet(PRICE, 0)
    assert (await wallet_and_kinds(shop, busy))[0] == Wallet(PRICE, 0)
    assert (await wallet_and_kinds(shop, broke))[0] == Wallet(0, PRICE)


@pytest.mark.parametrize(
    ("kind", "gems", "rule"),
    [
        pytest.param(OWED_PULL, 1, "ledger_amount_has_its_sign", id="an owed pull gives gems"),
        pytest.param(PULL, -PRICE, "ledger_spends_no_debt", id="a plain pull leaves a debt"),
        pytest.param("owed", -PRICE, "ledger_", id="a kind that nobody knows"),
    ],
)
async def test_the_database_refuses_an_entry_that_no_rule_allows(
    shop: Shop, kind: str, gems: int, rule: str
) -> None:
    user_id = await player(shop, 0)
    with pytest.raises(psycopg2.errors.CheckViolation, match=rule):
        await change(shop, user_id, kind, gems, may_owe=True)
