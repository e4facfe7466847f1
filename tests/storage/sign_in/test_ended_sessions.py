"""Which sessions account_svc lists as ended, for those who verify tokens."""

from datetime import datetime
from pathlib import Path

import pytest

from account_svc.domain.sessions import IDLE_DAYS
from account_svc.storage.sessions import MAX_REMEMBERED_SESSIONS, RECENTLY_ENDED
from account_svc.use_cases.sessions import EndedSessionList
from mesh.postgres.database import Database
from tests.storage.account.account_service import AccountService
from tests.storage.asking import answer_of
from tests.storage.conftest import MakeDatabase, empty, migrations_of


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("ended_sessions", migrations_of(repository, "account_svc"))


@pytest.fixture
async def service(schema: Database) -> AccountService:
    await empty(schema)
    return AccountService(schema)


async def ended_since(service: AccountService, since: datetime | None) -> set[str]:
    """What is listed since then. The standing question says so whenever a list of what ended just
    now has any."""
    listed = await EndedSessionList(service.database, lambda: service.now).read(since)
    assert listed.as_of == service.now
    if since == service.now and listed.session_ids:
        assert await have_recently_ended(service)
    return set(listed.session_ids)


async def have_recently_ended(service: AccountService) -> bool:
    clock = service.now.timestamp
    return bool(await answer_of(service.database, RECENTLY_ENDED, clock))


async def test_sessions_are_listed_as_ended_while_a_token_of_them_may_be_valid(
    service: AccountService,
) -> None:
    user_id = await service.register()
    first, second = [token.session_id for token in await service.add_sessions(user_id, 2)]
    assert await ended_since(service, None) == set()
    await service.sessions.logout_everywhere(user_id)
    assert await ended_since(service, None) == {first, second}
    service.pass_time(seconds=59)
    assert await ended_since(service, service.now) == {first, second}
    service.pass_time(seconds=2)
    assert await ended_since(service, service.now) == set()
    assert await have_recently_ended(service)
    service.pass_time(seconds=62)
    assert not await have_recently_ended(service)
    service.pass_time(minutes=13, seconds=56)
    assert await ended_since(service, None) == {first, second}
    service.pass_time(seconds=2)
    assert await ended_since(service, None) == set()


async def test_the_sessions_that_ended_last_come_first(service: AccountService) -> None:
    user_id = await service.register()
    tokens = await service.add_sessions(user_id, 3)
    for token in tokens:
        service.pass_time(seconds=1)
        await service.sessions.logout(token.text)
    listed = await EndedSessionList(service.database, lambda: service.now).read(None)
    assert list(listed.session_ids) == [token.session_id for token in reversed(tokens)]


async def test_a_session_that_ends_by_itself_is_listed_from_that_moment(
    service: AccountService,
) -> None:
    user_id = await service.register()
    (token,) = await service.add_sessions(user_id, 1)
    service.pass_time(days=IDLE_DAYS, seconds=-2)
    assert await ended_since(service, None) == set()
    assert not await have_recently_ended(service)
    service.pass_time(seconds=2)
    assert await ended_since(service, None) == {token.session_id}
    assert await ended_since(service, service.now) == {token.session_id}


async def test_logins_do_not_push_an_ended_session_off_the_list(service: AccountService) -> None:
    """The rows of a player are bounded, but not those that verifiers have to learn of."""
    user_id = await service.register()
    (stolen,) = await service.add_sessions(user_id, 1)
    await service.sessions.logout(stolen.text)
    await service.add_sessions(user_id, 2 * MAX_REMEMBERED_SESSIONS)
    assert stolen.session_id in await ended_since(service, None)
    service.pass_time(minutes=17)
    await service.add_sessions(user_id, 1)
    assert await service.count() <= MAX_REMEMBERED_SESSIONS + 1
