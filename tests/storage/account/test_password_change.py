"""A player's password is changed, on a real PostgreSQL."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.adapters.passwords import Passwords
from account_svc.domain.accounts import InvalidCredentials, UserNotFound, WrongPassword
from account_svc.storage.accounts import update_password
from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.sessions import Grant
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.errors import InvalidArgument
from mesh.postgres.database import Database
from tests.storage.account.session_house import HOME, PASSWORD, House
from tests.storage.conftest import empty, migrations_of
from tests.storage.holding import held

OTHER_PASSWORD, THIRD_PASSWORD = "another long password", "yet another long password"


@pytest.fixture
def schema(shared_database: Callable[[str, str], Database], repository: Path) -> Database:
    return shared_database("password_change", migrations_of(repository, "account_svc"))


@pytest.fixture
async def house(schema: Database) -> House:
    await empty(schema)
    return House(schema)


class SlowPasswords(Passwords):
    """Whoever verified a password is held up until `go_on`, once `is_verified`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_verified, self.go_on = asyncio.Event(), asyncio.Event()

    async def verify(self, password_hash: str | None, password: str) -> bool:
        matches = await super().verify(password_hash, password)
        self.is_verified.set()
        await self.go_on.wait()
        return matches


def change(
    house: House, user_id: str, new: str = OTHER_PASSWORD, *, old: str = PASSWORD, key: str = ""
) -> "asyncio.Future[Grant]":
    return asyncio.ensure_future(house.accounts.change_password(user_id, old, new, key, HOME))


async def test_a_change_ends_every_session_and_begins_one(house: House) -> None:
    user_id = await house.register()
    before = [(await house.login()).refresh_token for _ in range(3)]
    grant = await change(house, user_id)
    assert {await house.cause(token) for token in before} == {"password_changed"}
    assert await house.cause(grant.refresh_token) == ""
    assert await house.cause((await house.login(password=OTHER_PASSWORD)).refresh_token) == ""
    with pytest.raises(InvalidCredentials):
        await house.login()


async def test_a_wrong_current_password_changes_nothing(house: House) -> None:
    user_id = await house.register()
    grant = await house.login()
    with pytest.raises(WrongPassword) as refused:
        await change(house, user_id, old="a wrong password")
    assert [each.field for each in refused.value.fields] == ["current_password"]
    assert await house.cause(grant.refresh_token) == ""
    assert await house.login()


@pytest.mark.parametrize(
    ("old", "new", "key", "field"),
    [
        ("", OTHER_PASSWORD, "", "current_password"),
        ("x" * 129, OTHER_PASSWORD, "", "current_password"),
        (PASSWORD, "short", "", "new_password"),
        (PASSWORD, "x" * 129, "", "new_password"),
        (PASSWORD, "long enough\0", "", "new_password"),
        (PASSWORD, OTHER_PASSWORD, "a key", "idempotency_key"),
    ],
)
async def test_what_is_wrong_is_named(
    house: House, old: str, new: str, key: str, field: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"^{field} "):
        await change(house, str(uuid4()), new, old=old, key=key)


async def test_nobody_has_no_password_to_change(house: House) -> None:
    with pytest.raises(UserNotFound):
        await change(house, str(uuid4()))


async def test_a_repeat_succeeds_again_although_the_old_password_is_gone(house: House) -> None:
    user_id = await house.register()
    first = await change(house, user_id, key="mine")
    again = await change(house, user_id, key="mine")
    assert again.refresh_token != first.refresh_token
    assert [await house.cause(each.refresh_token) for each in (first, again)] == ["", ""]
    with pytest.raises(IdempotencyKeyReused):
        await change(house, user_id, THIRD_PASSWORD, key="mine")
    with pytest.raises(WrongPassword):
        await change(house, user_id, key="other")


async def test_a_repeat_after_a_later_change_is_refused(house: House) -> None:
    user_id = await house.register()
    await change(house, user_id, key="mine")
    later = await change(house, user_id, THIRD_PASSWORD, old=OTHER_PASSWORD, key="later")
    with pytest.raises(WrongPassword):
        await change(house, user_id, key="mine")
    assert await house.cause(later.refresh_token) == ""


async def test_the_same_change_twice_at_once_succeeds_twice(house: House) -> None:
    user_id = await house.register()
    grants = await asyncio.gather(*(change(house, user_id, key="mine") for _ in range(4)))
    for grant in grants:
        assert await house.cause(grant.refresh_token) == ""
    assert await house.login(password=OTHER_PASSWORD)


async def test_of_two_changes_at_once_one_wins_and_only_its_session_lives(house: House) -> None:
    user_id = await house.register()
    told = await asyncio.gather(
        change(house, user_id, OTHER_PASSWORD, key="one"),
        change(house, user_id, THIRD_PASSWORD, key="two"),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in told) == ["Grant", "WrongPassword"]
    assert await house.count("ended_at IS NULL") == 1


async def test_a_login_with_the_old_password_loses_to_a_change_meanwhile(house: House) -> None:
    user_id = await house.register()
    passwords = SlowPasswords()
    slow = Accounts(house.database, passwords, LoginGuard(house.database), house.sessions)
    login = asyncio.create_task(slow.login("mira", PASSWORD, HOME))
    await passwords.is_verified.wait()
    await change(house, user_id)
    passwords.go_on.set()
    with pytest.raises(InvalidCredentials):
        await login
    assert await house.count("ended_at IS NULL") == 1
    passwords.close()


async def test_a_login_waits_for_a_change_that_is_under_way_and_loses_to_it(house: House) -> None:
    user_id = await house.register()

    def change_password(cursor: Cursor) -> None:
        update_password(cursor, user_id, str(uuid4()), "a hash of nothing")

    async with held(house.database, change_password):
        login = asyncio.create_task(house.login())
        await house.are_waiting(1)
    with pytest.raises(InvalidCredentials):
        await login
    assert await house.count() == 0


async def test_a_change_by_the_old_password_loses_to_one_meanwhile(house: House) -> None:
    user_id = await house.register()
    passwords = SlowPasswords()
    slow = Accounts(house.database, passwords, LoginGuard(house.database), house.sessions)
    late = asyncio.create_task(slow.change_password(user_id, PASSWORD, THIRD_PASSWORD, "", HOME))
    await passwords.is_verified.wait()
    await change(house, user_id)
    passwords.go_on.set()
    with pytest.raises(WrongPassword):
        await late
    assert await house.login(password=OTHER_PASSWORD)
    passwords.close()
