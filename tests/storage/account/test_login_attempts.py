"""Login attempts at two instances that share one real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import Verdict
from account_svc.domain.login_attempts import (
    FORGET_SECONDS,
    KNOWN_SECONDS,
    Kind,
    LoginBackoff,
    Schedules,
    account_key,
    address_key,
    schedules_with,
)
from account_svc.storage import login_attempts as storage
from account_svc.use_cases.login_guard import LoginGuard
from deploy.local.servers.databases import SERVICE
from mesh.errors import Overloaded
from mesh.postgres.database import Database
from proof.postgres_server import PostgresServer
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held

NOW = 1_800_000_000.0
HOME, STRANGER = "192.0.2.1", "198.51.100.7"
FREE, FREE_OF_ADDRESS = Schedules().account.free_count, Schedules().address.free_count


class LoginInstances:
    """Two instances; the test says whether a password is right."""

    def __init__(self, databases: list[Database]) -> None:
        self.now = NOW
        self.refusals: list[Kind] = []
        self.looked_at_count = 0
        self.databases = databases
        self.guards = [self.guard(database) for database in databases]

    def guard(self, database: Database, schedules: Schedules | None = None) -> LoginGuard:
        return LoginGuard(
            database, schedules, clock=lambda: self.now, count_refusal=self.refusals.append
        )

    async def log_in(
        self, username: str, address: str, *, is_right: bool = False, instance: int = 0
    ) -> bool:
        async def verify() -> Verdict:
            self.looked_at_count += 1
            await asyncio.sleep(0)
            return Verdict(is_right)

        return (await self.guards[instance].attempt(username, address, verify)).is_right

    async def fail(self, username: str, address: str, count: int) -> None:
        """Tries wrong passwords, each as soon as it is allowed."""
        for _ in range(count):
            try:
                await self.log_in(username, address)
            except LoginBackoff as error:
                self.now += error.retry_after_seconds or 0.0
                await self.log_in(username, address)

    async def wait_of(self, username: str, address: str) -> float:
        """The wait of a refusal. Fails if the login is not refused."""
        with pytest.raises(LoginBackoff) as caught:
            await self.log_in(username, address, is_right=True)
        assert caught.value.retry_after_seconds is not None
        return caught.value.retry_after_seconds

    async def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        def run(cursor: Cursor) -> list[tuple[Any, ...]]:
            cursor.execute(statement, values)
            return cursor.fetchall()

        return await self.databases[0].autocommit(run)


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("logins", migrations_of(repository, "account_svc"))


@pytest.fixture
async def logins(
    schema: Database, postgres_server: PostgresServer
) -> AsyncIterator[LoginInstances]:
    await empty(schema)
    second = Database(postgres_server.role_url("logins", "account", SERVICE), connection_count=6)
    yield LoginInstances([schema, second])
    second.close()


async def test_of_guesses_made_together_the_free_ones_alone_reach_a_password(
    logins: LoginInstances,
) -> None:
    guesses = [logins.log_in("mira", STRANGER, instance=number % 2) for number in range(64)]
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    assert logins.looked_at_count == FREE
    assert outcomes.count(False) == FREE
    refused = [outcome for outcome in outcomes if isinstance(outcome, LoginBackoff)]
    assert len(refused) == 64 - FREE == len(logins.refusals)


async def test_the_same_from_an_address_over_many_accounts(logins: LoginInstances) -> None:
    logins.guards = [logins.guard(database, schedules_with(5, 10)) for database in logins.databases]
    guesses = [
        logins.log_in(f"player-{number}", STRANGER, instance=number % 2) for number in range(64)
    ]
    await asyncio.gather(*guesses, return_exceptions=True)
    assert logins.looked_at_count == 10
    assert set(logins.refusals) == {Kind.ADDRESS}


async def test_guesses_at_many_accounts_from_many_places_wait_for_no_locks_in_a_circle(
    logins: LoginInstances,
) -> None:
    guesses = [
        logins.log_in(f"player-{number % 5}", f"192.0.2.{number % 7}", instance=number % 2)
        for number in range(120)
    ]
    outcomes = await asyncio.gather(*guesses, return_exceptions=True)
    others = [outcome for outcome in outcomes if not isinstance(outcome, bool | LoginBackoff)]
    assert not others
    assert logins.looked_at_count == 5 * FREE


async def test_each_failure_after_the_free_ones_doubles_the_wait(logins: LoginInstances) -> None:
    await logins.fail("mira", STRANGER, FREE)
    assert await logins.wait_of("mira", STRANGER) == pytest.approx(1)
    await logins.fail("mira", STRANGER, 3)
    assert await logins.wait_of("mira", STRANGER) == pytest.approx(8)


async def test_an_attempt_that_must_wait_is_not_counted(logins: LoginInstances) -> None:
    await logins.fail("mira", STRANGER, FREE)
    for _ in range(20):
        assert await logins.wait_of("mira", STRANGER) == pytest.approx(1)
    logins.now += 1.01
    assert await logins.log_in("mira", STRANGER, is_right=True)


async def test_an_account_that_does_not_exist_waits_the_same(logins: LoginInstances) -> None:
    """The guard does not know whether an account exists, so this tests spellings of one name."""
    await logins.fail("Nobody", STRANGER, FREE)
    assert await logins.wait_of("nOBODY", HOME) == pytest.approx(1)


async def test_an_hour_without_failures_forgets_them(logins: LoginInstances) -> None:
    await logins.fail("mira", STRANGER, FREE + 4)
    logins.now += FORGET_SECONDS
    await logins.fail("mira", STRANGER, FREE)
    assert await logins.wait_of("mira", STRANGER) == pytest.approx(1)


async def test_a_success_forgives_the_account_and_not_the_address(logins: LoginInstances) -> None:
    logins.guards = [logins.guard(database, schedules_with(5, 6)) for database in logins.databases]
    await logins.fail("mira", STRANGER, 4)
    assert await logins.log_in("mira", STRANGER, is_right=True)
    await logins.fail("mira", STRANGER, 1)
    await logins.fail("noor", STRANGER, 1)
    # Six failures from there; since then the address is known for mira, who failed once.
    assert await logins.wait_of("tess", STRANGER) == pytest.approx(1)
    assert await logins.log_in("mira", STRANGER, is_right=True)


async def test_right_passwords_never_wait_however_many_come(logins: LoginInstances) -> None:
    for _ in range(3):
        attempts = [
            logins.log_in(f"player-{number}", HOME, is_right=True, instance=number % 2)
            for number in range(FREE_OF_ADDRESS - 10)
        ]
        assert all(await asyncio.gather(*attempts))
    assert not logins.refusals
    standings = await logins.query("SELECT sum(failure_count) FROM login_attempt")
    assert standings == [(0,)]


async def test_right_logins_of_one_account_at_once_do_not_wait_for_one_another(
    logins: LoginInstances,
) -> None:
    attempts = [logins.log_in("mira", HOME, is_right=True, instance=each % 2) for each in range(40)]
    assert all(await asyncio.gather(*attempts))
    assert not logins.refusals
    assert not any(guard.turn_count for guard in logins.guards)


async def test_a_stranger_cannot_block_players_at_their_known_addresses(
    logins: LoginInstances,
) -> None:
    assert await logins.log_in("mira", HOME, is_right=True)
    await logins.fail("mira", STRANGER, FREE + 6)
    assert await logins.wait_of("mira", STRANGER) > 10
    assert await logins.log_in("mira", HOME, is_right=True)
    # Her success does not give the stranger new guesses.
    assert await logins.wait_of("mira", STRANGER) > 10


async def test_guesses_from_a_known_address_slow_down_only_that_address(
    logins: LoginInstances,
) -> None:
    assert await logins.log_in("mira", HOME, is_right=True)
    await logins.fail("mira", HOME, FREE)
    assert await logins.wait_of("mira", HOME) == pytest.approx(1)
    assert await logins.log_in("mira", STRANGER, is_right=True)


async def test_a_known_pair_does_not_wait_for_others_at_the_address(
    logins: LoginInstances,
) -> None:
    logins.guards = [logins.guard(database, schedules_with(5, 10)) for database in logins.databases]
    assert await logins.log_in("mira", HOME, is_right=True)
    for number in range(10):
        await logins.fail(f"player-{number}", HOME, 1)
    assert await logins.wait_of("noor", HOME) == pytest.approx(1)
    assert await logins.log_in("mira", HOME, is_right=True)


async def test_an_address_is_known_for_thirty_days_after_a_login(logins: LoginInstances) -> None:
    assert await logins.log_in("mira", HOME, is_right=True)
    logins.now += KNOWN_SECONDS - 10
    await logins.fail("mira", STRANGER, FREE)
    assert await logins.log_in("mira", HOME, is_right=True)
    logins.now += KNOWN_SECONDS + 10
    await logins.fail("mira", STRANGER, FREE)
    assert await logins.wait_of("mira", HOME) == pytest.approx(1)


async def test_without_an_address_only_the_account_counts(logins: LoginInstances) -> None:
    await logins.fail("mira", "unknown", FREE)
    assert await logins.wait_of("mira", "") == pytest.approx(1)
    assert await logins.log_in("noor", "unknown", is_right=True)
    assert await logins.query("SELECT 1 FROM login_attempt WHERE address_hash <> ''") == []


async def test_a_login_refused_by_a_full_hashing_queue_is_no_attempt(
    logins: LoginInstances,
) -> None:
    async def find_no_room() -> Verdict:
        raise Overloaded("No room.", retry_after_seconds=1.0)

    for _ in range(3 * FREE):
        with pytest.raises(Overloaded):
            await logins.guards[0].attempt("mira", HOME, find_no_room)
    assert await logins.query("SELECT sum(failure_count) FROM login_attempt") == [(0,)]


async def test_a_login_cancelled_before_its_answer_is_no_attempt(logins: LoginInstances) -> None:
    for _ in range(3 * FREE):
        looking = asyncio.Event()

        async def verify(looking: asyncio.Event = looking) -> Verdict:
            looking.set()
            await asyncio.Event().wait()
            raise AssertionError("nothing sets it")

        attempt = asyncio.create_task(logins.guards[0].attempt("mira", HOME, verify))
        await looking.wait()
        attempt.cancel()
        (outcome,) = await asyncio.gather(attempt, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError)
    assert await logins.query("SELECT sum(failure_count) FROM login_attempt") == [(0,)]
    assert logins.guards[0].turn_count == 0


async def test_only_expired_records_are_removed(
    logins: LoginInstances,
) -> None:
    await logins.log_in("mira", HOME, is_right=True)
    await logins.fail("noor", STRANGER, 1)
    await logins.guards[0].run_once()
    # The records of mira's account and of her home, which have no failures, are deleted.
    kept = {account_key("noor"), address_key(STRANGER)}
    rows = await logins.query("SELECT account_hash, address_hash FROM login_attempt")
    pairs = [row for row in rows if all(map(bytes, row))]
    assert len(rows) == len(kept) + len(pairs) == 3
    logins.now += FORGET_SECONDS + 1
    await logins.guards[0].run_once()
    assert len(await logins.query("SELECT 1 FROM login_attempt")) == 1
    logins.now += KNOWN_SECONDS
    await logins.guards[1].run_once()
    assert await logins.query("SELECT 1 FROM login_attempt") == []


async def test_cleaning_is_bounded_and_skips_locked_rows(logins: LoginInstances) -> None:
    await logins.query(
        "INSERT INTO login_attempt (account_hash, address_hash)"
        " SELECT sha256(n::text::bytea), '' FROM generate_series(1, 30) AS n RETURNING 1"
    )
    one, other = logins.databases
    async with held(one, lambda cursor: storage.delete_old(cursor, NOW, 20)):
        async with asyncio.timeout(5):
            removed_count = await other.transaction(
                lambda cursor: storage.delete_old(cursor, NOW, 20)
            )
    assert removed_count == 10
    assert await logins.query("SELECT 1 FROM login_attempt") == []


async def test_no_name_and_no_address_is_stored(logins: LoginInstances) -> None:
    await logins.log_in("mira", HOME, is_right=True)
    await logins.fail("mira", STRANGER, 2)
    (stored,) = await logins.query("SELECT string_agg(login_attempt::text, ' ') FROM login_attempt")
    for secret in ("mira", HOME, STRANGER):
        assert secret not in stored[0]
        assert secret.encode().hex() not in stored[0]


async def test_an_operator_sees_an_account_and_forgives_it(logins: LoginInstances) -> None:
    logins.now = await _time_of(logins)
    await logins.log_in("mira", HOME, is_right=True)
    await logins.fail("mira", HOME, 2)
    await logins.fail("mira", STRANGER, FREE + 1)
    seen = await logins.query("SELECT kind, failure_count FROM login_attempts_of('Mira')")
    assert seen == [("account", FREE + 1), ("pair", 2)]
    assert await logins.query("SELECT forgive_login_attempts('MIRA')") == [(2,)]
    seen = await logins.query("SELECT kind, failure_count FROM login_attempts_of('mira')")
    assert seen == [("account", 0), ("pair", 0)]
    assert await logins.log_in("mira", STRANGER, is_right=True)
    known = await logins.query("SELECT known_until > now() FROM login_attempts_of('mira')")
    assert known.count((True,)) == 2


async def _time_of(logins: LoginInstances) -> float:
    ((seconds,),) = await logins.query("SELECT extract(epoch FROM now())::float8")
    return float(seconds)
