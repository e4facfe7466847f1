"""Purchases on a real PostgreSQL."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import UserNotFound
from account_svc.domain.debits import Debit
from account_svc.domain.purchases import MAX_PURCHASE_GEMS
from account_svc.domain.wallets import BalanceLimit
from account_svc.passwords import Passwords
from account_svc.use_cases.debits import apply_debits
from account_svc.use_cases.purchases import Purchases
from mesh.auth import PLAYER_AUDIENCE, TokenSigner
from mesh.database import Database
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, InvalidArgument
from mesh.idempotency import IdempotencyKeyReused
from mesh.txn.words import Operation
from tests.storage.conftest import empty, migrations_of
from tests.storage.funding import FundedAccounts
from tests.storage.holding import held


@dataclass
class Desk:
    accounts: FundedAccounts
    purchases: Purchases


@pytest.fixture
def schema(shared_database: Callable[[str, str], Database], repository: Path) -> Database:
    return shared_database("purchases", migrations_of(repository, "account_svc"))


@pytest.fixture
async def database(schema: Database) -> Database:
    await empty(schema)
    return schema


@pytest.fixture
def desk(database: Database) -> Desk:
    signer = TokenSigner(Ed25519PrivateKey.generate(), PLAYER_AUDIENCE, 3600)
    return Desk(FundedAccounts(database, Passwords(), signer), Purchases(database))


async def register(desk: Desk, username: str = "mira") -> str:
    return await desk.accounts.register(username, "a long password", f"{username}@example.com", "")


async def funded(desk: Desk, gems: int) -> str:
    user_id = await register(desk)
    await desk.accounts.give(user_id, gems)
    return user_id


def operation(user_id: str, gems: int) -> Operation[Debit]:
    return Operation(str(uuid4()), Debit(user_id, gems))


async def test_a_player_who_does_not_exist_buys_nothing(desk: Desk) -> None:
    with pytest.raises(UserNotFound):
        await buy(desk, str(uuid4()), 1)


async def buy(desk: Desk, user_id: str, gems: int, method: str = "card", key: str = "") -> int:
    return await desk.purchases.buy(user_id, gems, method, key, Deadline.after(5))


async def test_a_purchase_is_credited_once_however_often_it_is_sent(desk: Desk) -> None:
    user_id = await register(desk)
    answers = await asyncio.gather(*(buy(desk, user_id, 100, "card", "k") for _ in range(8)))
    await buy(desk, user_id, 7, "card", "k2")
    answers.append(await buy(desk, user_id, 100, "card", "k"))
    assert set(answers) == {100}
    assert await desk.accounts.balance(user_id) == 107


@pytest.mark.parametrize(("gems", "method"), [(101, "card"), (100, "paypal")])
async def test_a_purchase_key_with_another_body_is_refused(
    desk: Desk, gems: int, method: str
) -> None:
    user_id = await register(desk)
    await buy(desk, user_id, 100, "card", "k")
    with pytest.raises(IdempotencyKeyReused):
        await buy(desk, user_id, gems, method, "k")
    assert await desk.accounts.balance(user_id) == 100


async def test_two_players_may_use_the_same_key(desk: Desk) -> None:
    first, second = await register(desk), await register(desk, "noor")
    assert await buy(desk, first, 1, "card", "k") == 1
    assert await buy(desk, second, 2, "card", "k") == 2


async def test_a_wallet_never_exceeds_what_json_can_hold(desk: Desk, database: Database) -> None:
    user_id = await register(desk)
    await database.autocommit(
        lambda cursor: cursor.execute(
            """
            WITH entry AS (
                INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after)
                SELECT user_id, 1, gen_random_uuid(), 'purchase', (1::bigint << 53) - 2,
                       (1::bigint << 53) - 2 FROM wallet
            )
            UPDATE wallet SET entry_count = 1, balance = (1::bigint << 53) - 2
            """
        )
    )
    with pytest.raises(BalanceLimit):
        await buy(desk, user_id, 2, "card", "k")
    assert await buy(desk, user_id, 1, "card", "k") == 2**53 - 1


@pytest.mark.parametrize("gems", [0, -1, MAX_PURCHASE_GEMS + 1])
async def test_amounts_out_of_bounds_are_refused_by_name(desk: Desk, gems: int) -> None:
    with pytest.raises(InvalidArgument, match=r"^amount must be 1 to 1,000,000,000"):
        await buy(desk, str(uuid4()), gems)


async def test_a_purchase_waits_while_a_pull_holds_the_wallet(
    desk: Desk, database: Database
) -> None:
    user_id = await funded(desk, 100)
    impatient = Deadline.after(0.05)

    def take(cursor: Cursor) -> None:
        apply_debits(cursor, [operation(user_id, 1)])

    async with held(database, take):
        with pytest.raises(DeadlineExceeded):
            await desk.purchases.buy(user_id, 1, "card", "k", impatient)
    assert await buy(desk, user_id, 1, "card", "k") == 100
