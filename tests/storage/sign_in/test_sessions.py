"""Sessions of players, on a real PostgreSQL."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import jwt
import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import UserNotFound
from account_svc.domain.refresh_tokens import RefreshToken, parse
from account_svc.domain.sessions import (
    IDLE_DAYS,
    KEPT_DAYS,
    MAX_LIVE_SESSIONS,
    REPEAT_SECONDS,
    RefreshTokenInvalid,
    RefreshTokenReused,
)
from account_svc.storage.sessions import MAX_REMEMBERED_SESSIONS, lock_session
from deploy.local.servers.databases import SERVICE
from mesh.errors import InvalidArgument
from mesh.postgres.database import Database, DatabaseAway
from proof.postgres_server import PostgresServer
from tests.storage.account.account_service import AccountService
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held

AT_ONCE = 32
DATABASE = "sessions"
T = TypeVar("T")


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database(DATABASE, migrations_of(repository, "account_svc"))


@pytest.fixture
async def service(schema: Database) -> AccountService:
    await empty(schema)
    return AccountService(schema)


async def test_a_login_begins_a_session_that_its_access_token_names(
    service: AccountService,
) -> None:
    user_id = await service.register()
    grant = await service.login()
    claims = jwt.decode(grant.token, options={"verify_signature": False})
    token = parse(grant.refresh_token)
    assert token is not None
    assert (claims["sub"], claims["sid"]) == (user_id, token.session_id)
    assert claims["exp"] - claims["iat"] == grant.expires_in_seconds == 900
    refreshed = await service.sessions.refresh(grant.refresh_token, "")
    again = jwt.decode(refreshed.token, options={"verify_signature": False})
    assert (again["sub"], again["sid"]) == (user_id, token.session_id)


async def test_tokens_follow_one_another_and_each_is_good_once(service: AccountService) -> None:
    await service.register()
    token = (await service.login()).refresh_token
    given = [token]
    for _ in range(5):
        service.pass_time(minutes=14)
        token = (await service.sessions.refresh(token, "")).refresh_token
        given.append(token)
    assert len(set(given)) == 6
    assert service.outcomes == ["rotated"] * 5


async def test_of_many_refreshes_at_once_one_rotates_and_all_get_its_token(
    service: AccountService, postgres_server: PostgresServer
) -> None:
    await service.register()
    token = (await service.login()).refresh_token
    presented = parse(token)
    assert presented is not None
    url = postgres_server.role_url(DATABASE, "account", SERVICE)
    databases = [Database(url, connection_count=8) for _ in range(2)]
    instances = [service.instance(database) for database in databases]
    async with held(service.database, lambda cursor: lock_session(cursor, presented.session_id)):
        refreshes = [
            asyncio.create_task(instances[number % 2].refresh(token, f"key-{number}"))
            for number in range(AT_ONCE)
        ]
        await service.are_waiting(16)
    grants = await asyncio.gather(*refreshes)
    assert len({grant.refresh_token for grant in grants}) == 1
    assert sorted(service.outcomes) == ["repeated"] * (AT_ONCE - 1) + ["rotated"]
    assert await service.count("generation = 1") == 1
    for database in databases:
        database.close()


@pytest.mark.parametrize(("key", "is_repeat"), [("mine", True), ("another", False)])
async def test_a_repeat_that_comes_late_needs_its_key(
    service: AccountService, key: str, is_repeat: bool
) -> None:
    await service.register()
    token = (await service.login()).refresh_token
    first = await service.sessions.refresh(token, "mine")
    service.pass_time(seconds=REPEAT_SECONDS + 1)
    if is_repeat:
        again = await service.sessions.refresh(token, key)
        assert again.refresh_token == first.refresh_token
        assert await service.cause(first.refresh_token) == ""
    else:
        with pytest.raises(RefreshTokenReused):
            await service.sessions.refresh(token, key)
        assert await service.cause(first.refresh_token) == "reused"


async def test_a_session_has_ended_when_the_reuse_of_its_token_is_reported(
    service: AccountService,
) -> None:
    await service.register()
    stolen, others = (await service.login()).refresh_token, await service.login()
    second = (await service.sessions.refresh(stolen, "")).refresh_token
    third = (await service.sessions.refresh(second, "")).refresh_token
    with pytest.raises(RefreshTokenReused):
        await service.sessions.refresh(stolen, "")
    assert await service.count("ending = 'reused'") == 1
    for token in (stolen, second, third):
        assert await service.cause(token) == "reused"
    assert service.outcomes == ["rotated"] * 2 + ["refresh_token_reused"] + ["session_ended"] * 3
    assert await service.cause(others.refresh_token) == ""


async def test_every_token_that_is_not_genuine_gets_one_answer(service: AccountService) -> None:
    await service.register()
    grant = await service.login()
    token = parse(grant.refresh_token)
    assert token is not None
    forged = RefreshToken(token.session_id, token.generation, b"x" * 32).text
    unknown = RefreshToken(str(uuid4()), 0, token.secret).text
    told = set()
    for text in (forged, unknown, "gmr_", "x", grant.token, grant.refresh_token[:-1], "\0"):
        with pytest.raises(RefreshTokenInvalid) as refused:
            await service.sessions.refresh(text, "")
        told.add((refused.value.message, str(refused.value.metadata)))
    assert len(told) == 1
    assert await service.cause(grant.refresh_token) == ""


async def test_a_refresh_without_a_token_or_with_a_bad_key_names_the_field(
    service: AccountService,
) -> None:
    with pytest.raises(InvalidArgument, match="refresh_token"):
        await service.sessions.refresh("", "")
    with pytest.raises(InvalidArgument, match="idempotency_key"):
        await service.sessions.refresh("gmr_", "a key")


async def test_logging_out_ends_the_session_and_no_other(service: AccountService) -> None:
    await service.register()
    here, there = (await service.login()).refresh_token, (await service.login()).refresh_token
    newest = (await service.sessions.refresh(here, "")).refresh_token
    for token in (here, newest):
        await service.sessions.logout(token)
    assert await service.cause(newest) == "logged_out"
    assert await service.cause(there) == ""


async def test_logging_out_with_a_token_that_is_nobodys_succeeds_and_ends_nothing(
    service: AccountService,
) -> None:
    await service.register()
    grant = await service.login()
    token = parse(grant.refresh_token)
    assert token is not None
    await service.sessions.logout(RefreshToken(token.session_id, 0, b"x" * 32).text)
    await service.sessions.logout(RefreshToken(str(uuid4()), 0, b"x" * 32).text)
    assert await service.cause(grant.refresh_token) == ""
    with pytest.raises(InvalidArgument, match="refresh_token"):
        await service.sessions.logout("gmr_")


async def test_logging_out_everywhere_ends_all_of_one_player(service: AccountService) -> None:
    user_id, _ = await service.register(), await service.register("noor")
    mine = [(await service.login()).refresh_token for _ in range(3)]
    others = (await service.login("noor")).refresh_token
    await service.sessions.logout_everywhere(user_id)
    await service.sessions.logout_everywhere(user_id)
    assert {await service.cause(token) for token in mine} == {"logged_out_everywhere"}
    assert await service.cause(others) == ""
    assert await service.cause((await service.login()).refresh_token) == ""
    with pytest.raises(UserNotFound):
        await service.sessions.logout_everywhere(str(uuid4()))


async def test_a_session_that_was_ended_by_a_clock_ahead_stays_ended_as_it_was(
    service: AccountService,
) -> None:
    user_id = await service.register()
    token = (await service.login()).refresh_token
    service.pass_time(seconds=5)
    await service.sessions.logout(token)
    service.pass_time(seconds=-4)
    await service.sessions.logout_everywhere(user_id)
    assert await service.cause(token) == "logged_out"


async def test_an_operator_ends_a_players_sessions_as_the_page_says(
    service: AccountService, repository: Path
) -> None:
    await service.register()
    token = (await service.login()).refresh_token
    page = (repository / "docs" / "sessions.md").read_text()
    statement = page.partition("```sql\n")[2].partition("```")[0]
    await service.database.transaction(lambda cursor: cursor.execute(statement))
    assert await service.cause(token) == "logged_out_everywhere"


async def test_the_session_refreshed_longest_ago_makes_room_for_a_login(
    service: AccountService,
) -> None:
    user_id = await service.register()
    first, second, *rest = await service.add_sessions(user_id, MAX_LIVE_SESSIONS)
    kept = await service.sessions.refresh(first.text, "")
    assert await service.count("ended_at IS NULL") == MAX_LIVE_SESSIONS
    await service.login()
    assert await service.count("ended_at IS NULL") == MAX_LIVE_SESSIONS
    assert await service.cause(second.text) == "displaced"
    assert await service.cause(kept.refresh_token) == ""
    assert {await service.cause(token.text) for token in rest} == {""}


async def test_logins_at_once_leave_no_more_sessions_than_there_may_be(
    service: AccountService,
) -> None:
    user_id = await service.register()
    await service.add_sessions(user_id, MAX_LIVE_SESSIONS)
    await asyncio.gather(*(service.login() for _ in range(6)))
    assert await service.count("ended_at IS NULL") == MAX_LIVE_SESSIONS


async def test_stored_sessions_of_a_player_are_bounded(service: AccountService) -> None:
    user_id = await service.register()
    tokens = []
    for _ in range(MAX_REMEMBERED_SESSIONS + 5):
        tokens += await service.add_sessions(user_id, 1)
        service.pass_time(minutes=17)
    assert MAX_REMEMBERED_SESSIONS - 1 <= await service.count() <= MAX_REMEMBERED_SESSIONS + 1
    with pytest.raises(RefreshTokenInvalid):
        await service.sessions.refresh(tokens[0].text, "")
    assert await service.cause(tokens[-1].text) == ""


async def test_sessions_that_have_long_been_over_are_forgotten(service: AccountService) -> None:
    await service.register()
    ended, idle = (await service.login()).refresh_token, (await service.login()).refresh_token
    await service.sessions.logout(ended)
    service.pass_time(days=KEPT_DAYS - 1)
    lively = (await service.login()).refresh_token
    await service.sessions.forget_old()
    assert await service.count() == 3
    service.pass_time(days=2)
    await service.sessions.forget_old()
    assert await service.count() == 2
    service.pass_time(days=IDLE_DAYS - KEPT_DAYS - 1)
    assert await service.cause(idle) == "idle"
    lively = (await service.sessions.refresh(lively, "")).refresh_token
    service.pass_time(days=KEPT_DAYS + 1)
    await service.sessions.forget_old()
    assert await service.count() == 1
    assert await service.cause(lively) == ""


async def test_each_round_of_forgetting_is_bounded_until_nothing_is_left(
    service: AccountService,
) -> None:
    sessions = service.instance(max_forgotten=2)
    user_id = await service.register()
    await service.add_sessions(user_id, 5)
    service.pass_time(days=IDLE_DAYS + KEPT_DAYS + 1)
    left = []
    for _ in range(4):
        await sessions.forget_old()
        left.append(await service.count())
    assert left == [3, 1, 0, 0]


async def test_nothing_that_is_stored_could_be_used(service: AccountService) -> None:
    await service.register()
    given = [await service.login()]
    for _ in range(3):
        given.append(await service.sessions.refresh(given[-1].refresh_token, ""))

    def dump(cursor: Cursor) -> str:
        cursor.execute("SELECT row_to_json(player_session)::text FROM player_session")
        return str(cursor.fetchall())

    stored = await service.database.autocommit(dump)
    for grant in given:
        token = parse(grant.refresh_token)
        assert token is not None
        for secret in (token.secret.hex(), grant.refresh_token, grant.token):
            assert secret not in stored


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE player_session SET ended_at = NULL, ending = NULL",
        "UPDATE player_session SET ended_at = ended_at + interval '1 day'",
        "UPDATE player_session SET generation = 2 WHERE ended_at IS NULL",
        "UPDATE player_session SET salt = sha256('x') WHERE ended_at IS NULL",
        "UPDATE player_session SET ends_at = ends_at + interval '1 day' WHERE ended_at IS NULL",
        "UPDATE player_session SET ended_at = now() WHERE ended_at IS NULL",
    ],
)
async def test_no_statement_revives_a_session_or_an_old_token(
    service: AccountService, statement: str
) -> None:
    await service.register()
    await service.login()
    await service.sessions.logout((await service.login()).refresh_token)
    with pytest.raises(psycopg2.IntegrityError):
        await service.database.transaction(lambda cursor: cursor.execute(statement))


class DiesBeforeCommit(Database):
    """A database whose server process is killed just before a transaction commits."""

    async def transaction(
        self, work: Callable[[Cursor], T], *, lock_timeout_ms: int | None = None
    ) -> T:
        def killed(cursor: Cursor) -> T:
            answer = work(cursor)
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return answer

        return await super().transaction(killed)


class DiesAfterCommit(Database):
    """A database whose answer to a commit is lost."""

    async def transaction(
        self, work: Callable[[Cursor], T], *, lock_timeout_ms: int | None = None
    ) -> T:
        await super().transaction(work)
        raise DatabaseAway("The answer to the commit is lost.")


@pytest.mark.parametrize("dying", [DiesBeforeCommit, DiesAfterCommit])
async def test_a_refresh_whose_answer_was_lost_is_repeated_by_its_key(
    service: AccountService, postgres_server: PostgresServer, dying: type[Database]
) -> None:
    database = dying(postgres_server.role_url(DATABASE, "account", SERVICE))
    await service.register()
    first = parse((await service.login()).refresh_token)
    assert first is not None
    with pytest.raises(DatabaseAway):
        await service.instance(database).refresh(first.text, "mine")
    service.pass_time(hours=1)
    again = await service.sessions.refresh(first.text, "mine")
    assert await service.count("generation = 1") == 1
    assert await service.cause(again.refresh_token) == ""
    database.close()
