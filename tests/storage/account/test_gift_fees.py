"""Fees for gifts: taken once, given back once, refused for good; on a real PostgreSQL."""

import asyncio
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from account_svc.adapters.passwords import Passwords
from account_svc.domain.accounts import UserNotFound
from account_svc.domain.gift_fees import (
    MAX_FEE_GEMS,
    GiftFee,
    GiftFeeRefunded,
    InsufficientCurrency,
    Payer,
)
from account_svc.domain.wallets import BalanceChange, BalanceLimit
from account_svc.storage import wallets
from account_svc.use_cases.gift_fees import GiftFees
from account_svc.use_cases.login_guard import LoginGuard
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, InvalidArgument, MeshError
from mesh.postgres.database import Database
from tests.storage.account.busy_wallet import busy_wallet
from tests.storage.account.funding import FundedAccounts, sessions_over
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("gift_fees", migrations_of(repository, "account_svc"))


@pytest.fixture
async def database(schema: Database) -> Database:
    await empty(schema)
    return schema


@pytest.fixture
def accounts(database: Database) -> FundedAccounts:
    return FundedAccounts(database, Passwords(), LoginGuard(database), sessions_over(database))


@pytest.fixture
def fees(database: Database) -> GiftFees:
    return GiftFees(database)


def soon() -> Deadline:
    return Deadline.after(10)


async def player(accounts: FundedAccounts, gems: int = 0, username: str = "mira") -> str:
    user_id = await accounts.register(
        username, "a long password", f"{username}@example.com", "", "192.0.2.1"
    )
    if gems:
        await accounts.give(user_id, gems)
    return user_id


def fee_of(user_id: str, gems: int = 10) -> GiftFee:
    return GiftFee(str(uuid4()), user_id, gems)


async def kinds(accounts: FundedAccounts, user_id: str) -> list[tuple[str, int]]:
    """The kinds of ledger entries, newest first, without purchases."""
    entries, _ = await accounts.ledger(user_id, 100, "")
    return [(each.kind, each.amount_gems) for each in entries if each.kind != "purchase"]


async def test_a_fee_is_taken_once_however_often_and_at_once(
    accounts: FundedAccounts, fees: GiftFees
) -> None:
    user_id = await player(accounts, 100)
    fee = fee_of(user_id)
    balances = await asyncio.gather(*(fees.charge(fee, soon()) for _ in range(8)))
    await accounts.give(user_id, 5)
    assert set(balances) == {90}
    assert await fees.charge(fee, soon()) == 90
    assert await accounts.balance(user_id) == 95
    assert await kinds(accounts, user_id) == [("gift_fee", -10)]


async def test_a_refused_fee_is_not_taken_later_from_a_wallet_that_has_filled_up(
    accounts: FundedAccounts, fees: GiftFees
) -> None:
    user_id = await player(accounts, 9)
    fee = fee_of(user_id)
    with pytest.raises(InsufficientCurrency):
        await fees.charge(fee, soon())
    await accounts.give(user_id, 100)
    with pytest.raises(InsufficientCurrency):
        await fees.charge(fee, soon())
    assert await accounts.balance(user_id) == 109
    assert await fees.charge(fee_of(user_id), soon()) == 99


async def test_a_fee_of_an_unknown_player_is_refused_for_good(fees: GiftFees) -> None:
    fee = fee_of(str(uuid4()))
    for _ in range(2):
        with pytest.raises(UserNotFound):
            await fees.charge(fee, soon())
    await fees.refund(fee, soon())


async def test_a_fee_is_given_back_once_however_often_and_at_once(
    accounts: FundedAccounts, fees: GiftFees
) -> None:
    user_id = await player(accounts, 100)
    fee = fee_of(user_id)
    await fees.charge(fee, soon())
    await asyncio.gather(*(fees.refund(fee, soon()) for _ in range(8)))
    assert await accounts.balance(user_id) == 100
    assert await kinds(accounts, user_id) == [("gift_fee_refund", 10), ("gift_fee", -10)]
    with pytest.raises(GiftFeeRefunded):
        await fees.charge(fee, soon())


async def test_a_fee_that_was_refunded_before_it_was_asked_for_is_never_taken(
    accounts: FundedAccounts, fees: GiftFees
) -> None:
    user_id = await player(accounts, 100)
    fee = fee_of(user_id)
    await fees.refund(fee, soon())
    with pytest.raises(GiftFeeRefunded):
        await fees.charge(fee, soon())
    await fees.refund(fee, soon())
    assert await kinds(accounts, user_id) == []


async def test_a_refused_fee_has_nothing_to_give_back(
    accounts: FundedAccounts, fees: GiftFees
) -> None:
    user_id = await player(accounts)
    fee = fee_of(user_id)
    with pytest.raises(InsufficientCurrency):
        await fees.charge(fee, soon())
    await fees.refund(fee, soon())
    assert await kinds(accounts, user_id) == []


async def test_charges_and_refunds_that_race_leave_the_wallet_as_it_was(
    accounts: FundedAccounts, fees: GiftFees
) -> None:
    user_id = await player(accounts, 100)

    async def charge(fee: GiftFee) -> None:
        with suppress(GiftFeeRefunded):
            await fees.charge(fee, soon())

    for _ in range(10):
        fee = fee_of(user_id)
        charges = [charge(fee) for _ in range(3)]
        await asyncio.gather(*charges, *(fees.refund(fee, soon()) for _ in range(3)))
    assert await accounts.balance(user_id) == 100


@pytest.mark.parametrize("changes", [{"amount_gems": 11}, {"user_id": str(uuid4())}])
async def test_an_id_with_another_fee_is_refused(
    accounts: FundedAccounts, fees: GiftFees, changes: dict[str, object]
) -> None:
    user_id = await player(accounts, 100)
    fee = fee_of(user_id)
    await fees.charge(fee, soon())
    values = {"fee_id": fee.fee_id, "user_id": user_id, "amount_gems": 10} | changes
    other = GiftFee(**values)  # type: ignore[arg-type]
    for work in (fees.charge, fees.refund):
        with pytest.raises(IdempotencyKeyReused):
            await work(other, soon())
    assert await accounts.balance(user_id) == 90


@pytest.mark.parametrize("gems", [0, -1, MAX_FEE_GEMS + 1])
async def test_a_fee_out_of_bounds_is_refused_by_name(fees: GiftFees, gems: int) -> None:
    for work in (fees.charge, fees.refund):
        with pytest.raises(InvalidArgument, match="amount"):
            await work(fee_of(str(uuid4()), gems), soon())


async def test_waiting_for_a_locked_wallet_is_bounded(
    accounts: FundedAccounts, fees: GiftFees, database: Database
) -> None:
    user_id = await player(accounts, 100)
    fee = fee_of(user_id)
    async with held(database, lambda cursor: wallets.lock_wallets(cursor, [user_id])):
        with pytest.raises(DeadlineExceeded):
            await fees.charge(fee, Deadline.after(0.1))
        charging = asyncio.create_task(fees.charge(fee, soon()))
    assert await charging == 90


async def test_a_stored_fee_is_answered_while_the_wallet_is_busy(
    accounts: FundedAccounts, fees: GiftFees, database: Database
) -> None:
    user_id = await player(accounts, 10)
    taken, refused = fee_of(user_id), fee_of(user_id)
    await fees.charge(taken, soon())
    with pytest.raises(InsufficientCurrency):
        await fees.charge(refused, soon())
    async with held(database, lambda cursor: wallets.lock_wallets(cursor, [user_id])):
        assert await fees.charge(taken, Deadline.after(0.1)) == 0
        with pytest.raises(InsufficientCurrency):
            await fees.charge(refused, Deadline.after(0.1))
        await fees.refund(refused, Deadline.after(0.1))


async def test_a_player_who_pulls_without_a_pause_pays_between_the_pulls(
    accounts: FundedAccounts, fees: GiftFees, database: Database
) -> None:
    user_id = await player(accounts, 1000)
    async with busy_wallet(database, user_id):
        for _ in range(5):
            await fees.charge(fee_of(user_id), Deadline.after(3.0))


async def test_a_refund_that_the_wallet_cannot_hold_is_refused_and_may_be_tried_again(
    accounts: FundedAccounts, fees: GiftFees, database: Database
) -> None:
    user_id = await player(accounts, 100)
    fee = fee_of(user_id)
    await fees.charge(fee, soon())
    change = BalanceChange(str(uuid4()), user_id, "purchase", 2**53 - 1 - 90)
    await database.transaction(lambda cursor: wallets.change_balances(cursor, [change]))
    with pytest.raises(BalanceLimit):
        await fees.refund(fee, soon())
    await fees.charge(fee_of(user_id), soon())
    await fees.refund(fee, soon())
    assert await accounts.balance(user_id) == 2**53 - 1


async def test_players_are_found_by_name_in_any_case_and_by_id(
    accounts: FundedAccounts, fees: GiftFees
) -> None:
    mira, noor = await player(accounts, 7), await player(accounts, username="Noor")
    found = await fees.find_players(["NOOR", "nobody"], [mira, str(uuid4())])
    assert set(found) == {Payer(mira, "mira", 7), Payer(noor, "Noor", 0)}
    assert await fees.find_players([], []) == []
    with pytest.raises(MeshError, match="usernames"):
        await fees.find_players(["n"] * 101, [])
