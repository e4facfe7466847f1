"""What is stored of a password: by whose parameters, and for which spelling."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)
from structlog.testing import capture_logs

from account_svc.adapters.hashing import hasher
from account_svc.domain.accounts import InvalidCredentials
from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.login_guard import LoginGuard
from mesh.errors import InvalidArgument
from mesh.postgres.database import Database
from tests.storage.account.account_service import HOME, PASSWORD, AccountService, SlowPasswords
from tests.storage.conftest import MakeDatabase, empty, migrations_of

COMPOSED, DECOMPOSED = "caf\u00e9 au lait", "cafe\u0301 au lait"


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("password_hashes", migrations_of(repository, "account_svc"))


@pytest.fixture
async def service(schema: Database) -> AsyncIterator[AccountService]:
    await empty(schema)
    service = AccountService(schema)
    yield service
    service.passwords.close()


async def stored_hash(service: AccountService) -> str:
    def read(cursor: Cursor) -> str:
        cursor.execute("SELECT password_hash FROM player")
        ((password_hash,),) = cursor.fetchall()
        return str(password_hash)

    return await service.database.autocommit(read)


async def store_outdated_hash(service: AccountService) -> str:
    outdated = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(PASSWORD)

    def write(cursor: Cursor) -> None:
        cursor.execute("UPDATE player SET password_hash = %s", (outdated,))

    await service.database.transaction(write)
    return outdated


async def test_a_login_renews_a_hash_of_outdated_parameters(service: AccountService) -> None:
    await service.register()
    outdated = await store_outdated_hash(service)
    with pytest.raises(InvalidCredentials):
        await service.login(password="a wrong password")
    assert await stored_hash(service) == outdated
    await service.login()
    renewed = await stored_hash(service)
    assert hasher().check_needs_rehash(outdated)
    assert not hasher().check_needs_rehash(renewed)
    await service.login()
    assert await stored_hash(service) == renewed


async def test_a_hash_that_is_renewed_meanwhile_refuses_no_login(service: AccountService) -> None:
    await service.register()
    await store_outdated_hash(service)
    passwords = SlowPasswords()
    slow = Accounts(service.database, passwords, LoginGuard(service.database), service.sessions)
    login = asyncio.ensure_future(slow.login("mira", PASSWORD, "192.0.2.2"))
    await passwords.is_verified.wait()
    await service.login()
    passwords.go_on.set()
    assert (await login).token
    passwords.close()


async def test_a_password_is_one_in_every_spelling(service: AccountService) -> None:
    await service.accounts.register("mira", DECOMPOSED, "mira@example.com", "", HOME)
    for password in (COMPOSED, DECOMPOSED):
        await service.login(password=password)
    with pytest.raises(InvalidCredentials):
        await service.login(password="cafe au lait")


async def test_a_common_password_is_refused_at_either_door(service: AccountService) -> None:
    with pytest.raises(InvalidArgument, match="most common"):
        await service.accounts.register("mira", "Password1", "mira@example.com", "", HOME)
    user_id = await service.register()
    with pytest.raises(InvalidArgument, match="most common"):
        await service.accounts.change_password(user_id, PASSWORD, "password123", "", HOME)


async def test_a_login_is_logged_without_a_secret(service: AccountService) -> None:
    user_id = await service.register()
    with capture_logs() as logs:
        grant = await service.login()
    (entry,) = [entry for entry in logs if entry["event"] == "begin_session"]
    sessions = await session_ids(service)
    assert (entry["user_id"], entry["session_id"]) in sessions
    assert entry["user_id"] == user_id
    assert not any(secret in str(logs) for secret in (PASSWORD, grant.token, grant.refresh_token))


async def session_ids(service: AccountService) -> list[tuple[str, str]]:
    def read(cursor: Cursor) -> list[tuple[Any, ...]]:
        cursor.execute("SELECT user_id, session_id FROM player_session")
        return cursor.fetchall()

    rows = await service.database.autocommit(read)
    return [(str(user_id), str(session_id)) for user_id, session_id in rows]
