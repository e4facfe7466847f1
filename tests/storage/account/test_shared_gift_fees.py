"""Gift fees that are charged together, on a real PostgreSQL: they share transactions, and disturb
one another no more than if they came alone."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.adapters.passwords import Passwords
from account_svc.domain.accounts import UserNotFound
from account_svc.domain.gift_fees import (
    MAX_FEES,
    GiftFee,
    GiftFeeRefunded,
    InsufficientCurrency,
)
from account_svc.storage import gift_fees, wallets
from account_svc.use_cases.gift_fees import GiftFees
from account_svc.use_cases.login_guard import LoginGuard
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.deadlines import Deadline
from mesh.errors import InvalidArgument
from mesh.postgres.database import Database
from tests.storage.account.funding import FundedAccounts, sessions_over
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("gift_fees", migrations_of(repository, "account_svc"))


@pytest.fixture
async def accounts(schema: Database) -> FundedAccounts:
    await empty(schema)
    return FundedAccounts(schema, Passwords(), LoginGuard(schema), sessions_over(schema))


@pytest.fixture
def fees(schema: Database) -> GiftFees:
    return GiftFees(schema)


@pytest.fixture
async def players(accounts: FundedAccounts) -> list[str]:
    """Three players with 100, 25 and no gems."""
    user_ids = []
    for name, gems in (("mira", 100), ("noor", 25), ("ole", 0)):
        user_id = await accounts.register(
            name, "a long password", f"{name}@example.com", "", "192.0.2.1"
        )
        if gems:
            await accounts.give(user_id, gems)
        user_ids.append(user_id)
    return user_ids


def soon() -> Deadline:
    return Deadline.after(10)


def fee_of(user_id: str, gems: int = 10) -> GiftFee:
    return GiftFee(str(uuid4()), user_id, gems)


async def test_fees_of_many_players_are_each_taken_or_refused(
    accounts: FundedAccounts, fees: GiftFees, players: list[str]
) -> None:
    mira, noor, ole = players
    wanted = [fee_of(user_id) for user_id in (mira, noor, ole, noor, str(uuid4()), noor, mira)]
    for _ in range(2):
        taken = await fees.charge_free([*wanted, wanted[0]])
        assert taken == [True, True, False, True, False, False, True, True]
    assert [await accounts.balance(user_id) for user_id in players] == [80, 5, 0]
    for fee, refusal in ((wanted[2], InsufficientCurrency), (wanted[4], UserNotFound)):
        with pytest.raises(refusal):
            await fees.charge(fee, soon())
    await accounts.give(ole, 50)
    assert await fees.charge_free(wanted) == [True, True, False, True, False, False, True]


async def test_a_busy_wallet_delays_its_own_fee_alone(
    accounts: FundedAccounts, fees: GiftFees, players: list[str], schema: Database
) -> None:
    mira, noor, _ = players
    busy, free = fee_of(mira), fee_of(noor)
    async with held(schema, lambda cursor: wallets.lock_wallets(cursor, [mira])):
        async with asyncio.timeout(1):
            assert await fees.charge_free([busy, free]) == [False, True]
        charging = asyncio.create_task(fees.charge(busy, soon()))
        async with asyncio.timeout(1):
            assert await fees.charge(fee_of(noor), soon()) == 5
        assert not charging.done()
    assert await charging == 90
    assert await fees.charge_free([busy]) == [True]


async def test_an_id_of_another_fee_is_refused_and_takes_nothing(
    accounts: FundedAccounts, fees: GiftFees, players: list[str]
) -> None:
    mira, noor, _ = players
    fee = fee_of(mira)
    other = GiftFee(fee.fee_id, noor, 10)
    assert await fees.charge_free([fee, other, fee_of(noor)]) == [True, False, True]
    with pytest.raises(IdempotencyKeyReused):
        await fees.charge(other, soon())
    assert [await accounts.balance(user_id) for user_id in players] == [90, 15, 0]


async def test_a_refunded_fee_is_not_taken_with_others(
    accounts: FundedAccounts, fees: GiftFees, players: list[str]
) -> None:
    mira, noor, _ = players
    before, after, other = fee_of(mira), fee_of(mira), fee_of(noor)
    await fees.refund(before, soon())
    await fees.charge(after, soon())
    await fees.refund(after, soon())
    assert await fees.charge_free([before, after, other]) == [False, False, True]
    assert [await accounts.balance(user_id) for user_id in players] == [100, 15, 0]


async def test_an_outcome_that_is_stored_at_the_same_moment_stands(
    fees: GiftFees, schema: Database
) -> None:
    fee = fee_of(str(uuid4()))

    def refuse(cursor: Cursor) -> None:
        gift_fees.insert_gift_fees(cursor, [fee], {fee.fee_id: GiftFeeRefunded.REASON})

    async with held(schema, refuse):
        charging = asyncio.create_task(fees.charge(fee, soon()))
        async with asyncio.timeout(5):
            while not await schema.autocommit(is_any_waiting):
                await asyncio.sleep(0.01)
    with pytest.raises(GiftFeeRefunded):
        await charging


def is_any_waiting(cursor: Cursor) -> bool:
    """Whether a transaction waits for another one."""
    cursor.execute(
        "SELECT EXISTS (SELECT FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database())"
    )
    [(is_waiting,)] = cursor.fetchall()
    return bool(is_waiting)


async def test_too_many_fees_are_refused_by_name(fees: GiftFees) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await fees.charge_free([fee_of(str(uuid4()))] * (MAX_FEES + 1))
    assert [each.field for each in refused.value.fields] == ["fees"]
