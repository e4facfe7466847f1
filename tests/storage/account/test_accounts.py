"""The account service's operations and its participant, on a real PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.adapters.passwords import Passwords
from account_svc.domain.accounts import (
    EmailTaken,
    InvalidCredentials,
    UsernameTaken,
    UserNotFound,
    WrongPassword,
)
from account_svc.domain.debits import Debit
from account_svc.domain.login_attempts import LoginBackoff
from account_svc.use_cases.debits import apply_debits
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.sessions import Sessions
from mesh.contract.access import OF_PLAYERS
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.errors import InvalidArgument
from mesh.identity.auth import Authenticator, Player
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner
from mesh.postgres.database import Database
from mesh.txn.model import No, Operation, Vote, Yes
from tests.storage.account.funding import FundedAccounts
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.holding import held

PASSWORD = "a long password"
HOME, AWAY = "192.0.2.1", "198.51.100.7"
NOW = 1_800_000_000.0


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("accounts", migrations_of(repository, "account_svc"))


@pytest.fixture
async def database(schema: Database) -> Database:
    await empty(schema)
    return schema


@pytest.fixture
def signer() -> TokenSigner:
    return TokenSigner(Ed25519PrivateKey.generate(), PLAYER_AUDIENCE, 900)


@pytest.fixture
def accounts(database: Database, signer: TokenSigner) -> FundedAccounts:
    # Even if hashing is slow, no wait has ended.
    guard = LoginGuard(database, clock=lambda: NOW)
    return FundedAccounts(database, Passwords(), guard, Sessions(database, signer))


async def register(accounts: FundedAccounts, username: str = "mira", key: str = "") -> str:
    return await accounts.register(username, PASSWORD, f"{username}@example.com", key, HOME)


async def funded(accounts: FundedAccounts, gems: int, username: str = "mira") -> str:
    user_id = await register(accounts, username)
    await accounts.give(user_id, gems)
    return user_id


async def debit(database: Database, *operations: Operation[Debit]) -> Sequence[Vote[int]]:
    return await database.transaction(lambda cursor: apply_debits(cursor, operations))


def _refuse(*arguments: object) -> None:
    raise InvalidArgument(f"no longer admitted: {len(arguments)} fields")


def operation(user_id: str, gems: int) -> Operation[Debit]:
    return Operation(str(uuid4()), Debit(user_id, gems))


async def test_a_new_player_has_nothing_and_may_log_in_in_any_case(
    accounts: FundedAccounts, signer: TokenSigner
) -> None:
    user_id = await register(accounts)
    assert await accounts.balance(user_id) == 0
    token = (await accounts.login("MIRA", PASSWORD, HOME)).token
    keys = fixed_keys(signer.public_key)
    authenticator = Authenticator(
        "account_svc", player_keys=keys, service_keys=fixed_service_keys({})
    )
    metadata = {"authorization": f"Bearer {token}"}
    assert await authenticator.authenticate(metadata, OF_PLAYERS) == Player(user_id)


@pytest.mark.parametrize(
    ("username", "email", "error"),
    [
        ("MIRA", "other@example.com", UsernameTaken),
        ("other", "Mira@Example.COM", EmailTaken),
    ],
)
async def test_usernames_and_emails_are_unique_regardless_of_case(
    accounts: FundedAccounts, username: str, email: str, error: type[Exception]
) -> None:
    await register(accounts)
    with pytest.raises(error):
        await accounts.register(username, PASSWORD, email, "", HOME)


async def test_registering_again_with_the_same_key_gives_the_same_player(
    accounts: FundedAccounts,
) -> None:
    assert await register(accounts, key="k") == await register(accounts, key="k")
    for username, password, email in (
        ("mira", "another password", "mira@example.com"),
        ("mira", PASSWORD, "other@example.com"),
        ("Mira", PASSWORD, "mira@example.com"),
    ):
        with pytest.raises(IdempotencyKeyReused):
            await accounts.register(username, password, email, "k", HOME)


async def test_the_key_of_another_players_registration_registers_a_player(
    accounts: FundedAccounts,
) -> None:
    user_id = await register(accounts, key="k")
    assert await register(accounts, "noor", key="k") != user_id


async def test_a_repeated_registration_is_answered_after_the_password_was_changed(
    accounts: FundedAccounts,
) -> None:
    user_id = await register(accounts, key="k")
    await accounts.change_password(user_id, PASSWORD, "another password", "", HOME)
    assert await register(accounts, key="k") == user_id


async def test_a_repeated_registration_is_answered_before_any_rule_that_may_change(
    accounts: FundedAccounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await register(accounts, key="k")
    monkeypatch.setattr("account_svc.use_cases.accounts.checked_registration", _refuse)
    assert await register(accounts, key="k") == user_id


async def test_who_has_the_key_of_a_registration_cannot_lock_its_player_out(
    accounts: FundedAccounts,
) -> None:
    await register(accounts, key="k")
    for number in range(6):
        await register(accounts, f"stranger{number}", key="k")
        with pytest.raises(IdempotencyKeyReused):
            await accounts.register("mira", PASSWORD, f"other{number}@example.com", "k", AWAY)
    guess = partial(accounts.register, "mira", "a wrong password", "mira@example.com", "k", AWAY)
    for _ in range(5):
        with pytest.raises(IdempotencyKeyReused):
            await guess()
    with pytest.raises(LoginBackoff):
        await guess()
    assert (await accounts.login("mira", PASSWORD, AWAY)).token


async def test_registering_at_the_same_time_with_the_same_key_makes_one_player(
    accounts: FundedAccounts,
) -> None:
    user_ids = await asyncio.gather(*(register(accounts, key="k") for _ in range(4)))
    assert len(set(user_ids)) == 1


@pytest.mark.parametrize(("username", "password"), [("mira", "wrong"), ("nobody", PASSWORD)])
async def test_wrong_passwords_and_unknown_users_get_one_answer(
    accounts: FundedAccounts, username: str, password: str
) -> None:
    await register(accounts)
    with pytest.raises(InvalidCredentials, match="The username or the password is wrong"):
        await accounts.login(username, password, HOME)


async def test_every_way_to_try_a_password_counts_with_the_others(
    accounts: FundedAccounts,
) -> None:
    user_id = await register(accounts)
    tries: list[Callable[[], Awaitable[object]]] = [
        lambda: accounts.login("mira", "a wrong password", HOME),
        lambda: accounts.change_password(user_id, "a wrong password", "another one", "", HOME),
    ]
    for attempt, refusal in zip(
        (tries[0], tries[0], tries[1], tries[1], tries[1]),
        (InvalidCredentials, InvalidCredentials, *[WrongPassword] * 3),
        strict=True,
    ):
        with pytest.raises(refusal):
            await attempt()
    for attempt in tries:
        with pytest.raises(LoginBackoff):
            await attempt()


async def test_a_player_who_does_not_exist_owns_nothing(accounts: FundedAccounts) -> None:
    with pytest.raises(UserNotFound):
        await accounts.balance(str(uuid4()))


async def test_the_ledger_is_read_page_by_page_newest_first(accounts: FundedAccounts) -> None:
    user_id = await register(accounts)
    for gems in (1, 2, 3, 4, 5):
        await accounts.give(user_id, gems)
    amounts, token = [], ""
    for _ in range(3):
        page, token = await accounts.ledger(user_id, 2, token)
        amounts.append([entry.amount_gems for entry in page])
    assert amounts == [[5, 4], [3, 2], [1]]
    assert token == ""


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE wallet SET balance = balance + 1",
        "UPDATE wallet SET balance = 0, entry_count = 0",
        "UPDATE wallet SET balance = 60, entry_count = 1",
        "UPDATE wallet SET balance = 160, entry_count = 3",
        "DELETE FROM wallet",
        "UPDATE ledger SET amount = amount + 1, balance_after = balance_after + 1",
        "DELETE FROM ledger",
        "INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after)"
        " SELECT user_id, 3, gen_random_uuid(), 'purchase', 1, 101 FROM wallet",
        "INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after)"
        " SELECT user_id, 3, gen_random_uuid(), 'purchase', 5, 99 FROM wallet",
        "UPDATE wallet SET balance = -1",
        "UPDATE wallet SET balance = 101, entry_count = 3",
        # A wallet and its newest entry that agree, without what was before.
        "WITH moved AS (UPDATE wallet SET balance = 7, entry_count = 3 RETURNING user_id)"
        " INSERT INTO ledger (user_id, number, operation_id, kind, amount, balance_after)"
        " SELECT user_id, 3, gen_random_uuid(), 'purchase', 7, 7 FROM moved",
        "WITH other AS (INSERT INTO player (user_id, username, username_key, email, email_key,"
        " password_hash, registration_id, registration_digest)"
        " SELECT gen_random_uuid(), 'other', 'other', 'o@o', 'o@o', '', gen_random_uuid(),"
        " registration_digest FROM player RETURNING user_id)"
        " INSERT INTO wallet (user_id, balance, entry_count) SELECT user_id, 5, 1 FROM other",
    ],
)
async def test_no_statement_can_part_a_balance_from_its_ledger(
    accounts: FundedAccounts, database: Database, statement: str
) -> None:
    user_id = await funded(accounts, 60)
    await accounts.give(user_id, 40)
    # The rules bind the owner too, who has every privilege.
    with pytest.raises(psycopg2.IntegrityError):
        await as_owner(database, lambda cursor: cursor.execute(statement))


async def test_a_batch_votes_on_each_debit_by_itself(
    accounts: FundedAccounts, database: Database
) -> None:
    rich, poor = await funded(accounts, 100), await funded(accounts, 5, "noor")
    nobody = str(uuid4())
    first, second = operation(rich, 60), operation(rich, 10)
    votes = await debit(database, first, second, operation(poor, 6), operation(nobody, 1))
    assert votes[0] == Yes(40)
    reasons = [vote.reason for vote in votes[1:] if isinstance(vote, No)]
    assert reasons == ["BUSY", "INSUFFICIENT_CURRENCY", "USER_NOT_FOUND"]
    assert votes[2] == No(
        "INSUFFICIENT_CURRENCY",
        "Insufficient currency",
        {"price_gems": "6", "balance_gems": "5"},
    )
    again = await debit(database, first, operation(poor, 5))
    assert again == [No("DUPLICATE"), Yes(0)]
    assert (await accounts.balance(rich), await accounts.balance(poor)) == (40, 0)


async def test_a_wallet_that_another_transaction_holds_is_busy_at_once(
    accounts: FundedAccounts, database: Database
) -> None:
    user_id = await funded(accounts, 100)

    def take(cursor: Cursor) -> None:
        apply_debits(cursor, [operation(user_id, 1)])

    async with held(database, take):
        assert await debit(database, operation(user_id, 1)) == [No("BUSY")]


async def test_balances_that_are_asked_for_at_once_are_each_players_own(
    accounts: FundedAccounts,
) -> None:
    rich, poor = await funded(accounts, 100), await register(accounts, "noor")
    asked = (rich, poor, rich)
    assert await asyncio.gather(*map(accounts.balance, asked)) == [100, 0, 100]
