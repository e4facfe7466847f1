"""A player's password is changed, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.adapters.passwords import Passwords
from account_svc.domain.accounts import InvalidCredentials, UserNotFound, WrongPassword
from account_svc.domain.hashing_queue import Urgency
from account_svc.storage.accounts import update_password
from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.sessions import Grant
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.errors import InvalidArgument
from mesh.postgres.database import Database
from tests.storage.account.account_service import HOME, PASSWORD, AccountService, SlowPasswords
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held

OTHER_PASSWORD, THIRD_PASSWORD = "another long password", "yet another long password"
AWAY = "198.51.100.7"


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("password_change", migrations_of(repository, "account_svc"))


@pytest.fixture
async def service(schema: Database) -> AccountService:
    await empty(schema)
    return AccountService(schema)


def change(
    service: AccountService,
    user_id: str,
    new: str = OTHER_PASSWORD,
    *,
    old: str = PASSWORD,
    key: str = "",
) -> "asyncio.Future[Grant]":
    return asyncio.ensure_future(service.accounts.change_password(user_id, old, new, key, HOME))


async def test_a_change_ends_every_session_and_begins_one(service: AccountService) -> None:
    user_id = await service.register()
    before = [(await service.login()).refresh_token for _ in range(3)]
    grant = await change(service, user_id)
    assert {await service.cause(token) for token in before} == {"password_changed"}
    assert await service.cause(grant.refresh_token) == ""
    assert await service.cause((await service.login(password=OTHER_PASSWORD)).refresh_token) == ""
    with pytest.raises(InvalidCredentials):
        await service.login()


class RecordedTurns(Passwords):
    """Records who had a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: list[tuple[Urgency, str]] = []

    @asynccontextmanager
    async def admit(self, urgency: Urgency, address: str) -> AsyncIterator[None]:
        self.turns.append((urgency, address))
        async with super().admit(urgency, address):
            yield


async def test_a_right_current_password_makes_the_account_known_at_a_new_address(
    service: AccountService,
) -> None:
    user_id = await service.register()
    passwords = RecordedTurns()
    guard = LoginGuard(service.database, admit=passwords.admit)
    accounts = Accounts(service.database, passwords, guard, service.sessions)
    with pytest.raises(WrongPassword):
        await accounts.change_password(user_id, THIRD_PASSWORD, OTHER_PASSWORD, "", AWAY)
    await accounts.change_password(user_id, PASSWORD, OTHER_PASSWORD, "", AWAY)
    await accounts.login("mira", OTHER_PASSWORD, AWAY)
    passwords.close()
    classes = [Urgency.STRANGER, Urgency.STRANGER, Urgency.KNOWN, Urgency.KNOWN]
    assert passwords.turns == [(each, AWAY) for each in classes]


async def test_a_wrong_current_password_changes_nothing(service: AccountService) -> None:
    user_id = await service.register()
    grant = await service.login()
    with pytest.raises(WrongPassword) as refused:
        await change(service, user_id, old="a wrong password")
    assert [each.field for each in refused.value.fields] == ["current_password"]
    assert await service.cause(grant.refresh_token) == ""
    assert await service.login()


@pytest.mark.parametrize(
    ("old", "new", "key", "field"),
    [
        ("", OTHER_PASSWORD, "", "current_password"),
        ("x" * 129, OTHER_PASSWORD, "", "current_password"),
        (PASSWORD, "short", "", "new_password"),
        (PASSWORD, "x" * 129, "", "new_password"),
        (PASSWORD, PASSWORD, "", "new_password"),
        (PASSWORD, OTHER_PASSWORD, "a key", "idempotency_key"),
    ],
)
async def test_the_invalid_field_is_named(
    service: AccountService, old: str, new: str, key: str, field: str
) -> None:
    user_id = await service.register()
    with pytest.raises(InvalidArgument, match=f"^{field} "):
        await change(service, user_id, new, old=old, key=key)


async def test_an_unknown_player_cannot_change_a_password(service: AccountService) -> None:
    with pytest.raises(UserNotFound):
        await change(service, str(uuid4()))


async def test_a_repeat_succeeds_again_although_the_old_password_is_gone(
    service: AccountService,
) -> None:
    user_id = await service.register()
    first = await change(service, user_id, key="mine")
    again = await change(service, user_id, key="mine")
    assert again.refresh_token != first.refresh_token
    assert [await service.cause(each.refresh_token) for each in (first, again)] == ["", ""]
    with pytest.raises(IdempotencyKeyReused):
        await change(service, user_id, THIRD_PASSWORD, key="mine")
    with pytest.raises(WrongPassword):
        await change(service, user_id, key="other")


async def test_a_repeat_after_a_later_change_is_refused(service: AccountService) -> None:
    user_id = await service.register()
    await change(service, user_id, key="mine")
    later = await change(service, user_id, THIRD_PASSWORD, old=OTHER_PASSWORD, key="later")
    with pytest.raises(WrongPassword):
        await change(service, user_id, key="mine")
    assert await service.cause(later.refresh_token) == ""


async def test_the_same_change_twice_at_once_succeeds_twice(service: AccountService) -> None:
    user_id = await service.register()
    grants = await asyncio.gather(*(change(service, user_id, key="mine") for _ in range(4)))
    for grant in grants:
        assert await service.cause(grant.refresh_token) == ""
    assert await service.login(password=OTHER_PASSWORD)


async def test_of_two_changes_at_once_one_wins_and_only_its_session_lives(
    service: AccountService,
) -> None:
    user_id = await service.register()
    told = await asyncio.gather(
        change(service, user_id, OTHER_PASSWORD, key="one"),
        change(service, user_id, THIRD_PASSWORD, key="two"),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in told) == ["Grant", "WrongPassword"]
    assert await service.count("ended_at IS NULL") == 1


async def test_a_login_with_the_old_password_fails_if_it_is_changed_concurrently(
    service: AccountService,
) -> None:
    user_id = await service.register()
    passwords = SlowPasswords()
    slow = Accounts(service.database, passwords, LoginGuard(service.database), service.sessions)
    login = asyncio.create_task(slow.login("mira", PASSWORD, HOME))
    await passwords.is_verified.wait()
    await change(service, user_id)
    passwords.go_on.set()
    with pytest.raises(InvalidCredentials):
        await login
    assert await service.count("ended_at IS NULL") == 1
    passwords.close()


async def test_a_login_waits_for_a_change_that_is_under_way_and_loses_to_it(
    service: AccountService,
) -> None:
    user_id = await service.register()

    def change_password(cursor: Cursor) -> None:
        update_password(cursor, user_id, str(uuid4()), "a hash of nothing")

    async with held(service.database, change_password):
        login = asyncio.create_task(service.login())
        await service.are_waiting(1)
    with pytest.raises(InvalidCredentials):
        await login
    assert await service.count() == 0


async def test_a_change_with_the_old_password_fails_if_it_is_changed_concurrently(
    service: AccountService,
) -> None:
    user_id = await service.register()
    passwords = SlowPasswords()
    slow = Accounts(service.database, passwords, LoginGuard(service.database), service.sessions)
    late = asyncio.create_task(slow.change_password(user_id, PASSWORD, THIRD_PASSWORD, "", HOME))
    await passwords.is_verified.wait()
    await change(service, user_id)
    passwords.go_on.set()
    with pytest.raises(WrongPassword):
        await late
    assert await service.login(password=OTHER_PASSWORD)
    passwords.close()
