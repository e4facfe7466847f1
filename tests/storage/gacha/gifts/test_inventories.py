"""Inventories that several transactions change at the same time."""

import asyncio
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.errors import CheckViolation, LockNotAvailable
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from deploy.local.servers.databases import SERVICE
from gacha_svc.domain.gifts import MAX_HOLDING_COUNT
from gacha_svc.storage import inventories as storage
from mesh.postgres.database import Database, LockTimeout
from proof.postgres_server import PostgresServer
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.holding import held as held_open

ITEM_ID = 101
DATABASE = "inventories"


@pytest.fixture(scope="module")
def inventories(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database(DATABASE, migrations_of(repository, "gacha_svc"))


class Meanwhile:
    """A cursor after whose first statement the player gets another of the item, unless the row is
    locked."""

    def __init__(self, cursor: Cursor, database_url: str, user_id: str) -> None:
        self._cursor, self._database_url, self._user_id = cursor, database_url, user_id
        self._is_first = True

    def execute(self, *arguments: object) -> None:
        self._cursor.execute(*arguments)  # type: ignore[arg-type]
        if self._is_first:
            self._is_first = False
            with (
                closing(psycopg2.connect(self._database_url)) as other,
                suppress(LockNotAvailable),
                other,
                other.cursor() as cursor,
            ):
                cursor.execute("SET LOCAL lock_timeout = '50ms'")
                storage.put(cursor, self._user_id, ITEM_ID, 1)

    def __getattr__(self, name: str) -> object:
        return getattr(self._cursor, name)


@pytest.mark.parametrize(("held", "taken", "is_taken"), [(1, 1, True), (2, 1, True), (1, 3, False)])
async def test_an_item_that_arrives_meanwhile_hides_none(
    inventories: Database,
    postgres_server: PostgresServer,
    held: int,
    taken: int,
    is_taken: bool,
) -> None:
    database = inventories
    await empty(database)
    user_id = str(uuid4())
    await database.autocommit(lambda cursor: storage.put(cursor, user_id, ITEM_ID, held))

    def take(cursor: Cursor) -> bool:
        url = postgres_server.role_url(DATABASE, "gacha", SERVICE)
        meanwhile: Any = Meanwhile(cursor, url, user_id)
        locked = storage.lock_free(meanwhile, [(user_id, ITEM_ID)])
        if locked[user_id, ITEM_ID] < taken:
            return False
        storage.take(meanwhile, {(user_id, ITEM_ID): taken})
        return True

    assert await database.transaction(take) is is_taken
    left = await database.autocommit(lambda cursor: storage.count_held(cursor, user_id, ITEM_ID))
    assert left == held - (taken if is_taken else 0)


ADA, BOB, EVE = sorted(str(uuid4()) for _ in range(3))


async def owned(database: Database) -> dict[tuple[str, int], int]:
    keys = [(user_id, item_id) for user_id in (ADA, BOB, EVE) for item_id in (1, 2)]
    return dict(await database.autocommit(lambda cursor: storage.existing(cursor, keys)))


async def test_items_are_put_beside_those_that_are_held(inventories: Database) -> None:
    database = inventories
    await empty(database)
    await database.transaction(
        lambda cursor: storage.put_into_free(cursor, {(ADA, 1): 1, (BOB, 1): 2})
    )

    def put_all(cursor: Cursor) -> set[storage.Holding]:
        return storage.put_into_free(cursor, {(ADA, 1): 5, (BOB, 1): 6, (EVE, 2): 7})

    async with held_open(database, lambda cursor: storage.put(cursor, ADA, 1, 10)):
        have_got = await database.transaction(put_all, lock_timeout_ms=1)
        assert have_got == {(BOB, 1), (EVE, 2)}
        locked = await database.transaction(
            lambda cursor: storage.lock_free(cursor, [(ADA, 1), (BOB, 1), (BOB, 2)])
        )
        assert locked == {(BOB, 1): 8}
    assert await owned(database) == {(ADA, 1): 11, (BOB, 1): 8, (EVE, 2): 7}


async def test_a_holding_that_is_being_created_is_waited_for(inventories: Database) -> None:
    database = inventories
    await empty(database)
    async with held_open(database, lambda cursor: storage.put(cursor, ADA, 1, 10)):
        with pytest.raises(LockTimeout):
            await database.transaction(
                lambda cursor: storage.put_into_free(cursor, {(ADA, 1): 5}), lock_timeout_ms=20
            )
    assert await owned(database) == {(ADA, 1): 10}


async def test_a_full_holding_gets_nothing_and_others_get_theirs(inventories: Database) -> None:
    database = inventories
    await empty(database)
    full = MAX_HOLDING_COUNT - 3
    await database.transaction(
        lambda cursor: storage.put_into_free(cursor, {(ADA, 1): full, (BOB, 1): 1})
    )
    have_got = await database.transaction(
        lambda cursor: storage.put_into_free(cursor, {(ADA, 1): 4, (BOB, 1): 4})
    )
    assert have_got == {(BOB, 1)}
    assert await owned(database) == {(ADA, 1): full, (BOB, 1): 5}


async def test_more_than_a_holding_has_is_never_taken(inventories: Database) -> None:
    database = inventories
    await empty(database)
    await database.transaction(lambda cursor: storage.put(cursor, ADA, 1, 2))
    with pytest.raises(CheckViolation):
        await database.transaction(lambda cursor: storage.take(cursor, {(ADA, 1): 3}))
    assert await owned(database) == {(ADA, 1): 2}


async def test_gifts_and_pulls_of_the_same_items_never_deadlock(inventories: Database) -> None:
    database = inventories
    await empty(database)
    randomness = Random(7)
    holdings = [(user_id, item_id) for user_id in (ADA, BOB, EVE) for item_id in (1, 2)]
    put_count = taken_count = 0

    def pull(cursor: Cursor) -> None:
        """As `record_drawn` does."""
        for holding in sorted(randomness.sample(holdings, 3)):
            storage.put(cursor, *holding, 1)

    def give(cursor: Cursor) -> int:
        wanted = randomness.sample(holdings, 3)
        taken = dict.fromkeys(storage.lock_free(cursor, wanted), 1)
        storage.take(cursor, taken)
        return len(taken)

    def deliver(cursor: Cursor) -> int:
        return len(storage.put_into_free(cursor, dict.fromkeys(randomness.sample(holdings, 3), 1)))

    before = await deadlocks(database)
    for _ in range(40):
        _, _, taken, put, other = await asyncio.gather(
            database.transaction(pull),
            database.transaction(pull),
            database.transaction(give),
            database.transaction(deliver),
            database.transaction(deliver),
        )
        put_count += 6 + put + other
        taken_count += taken
    assert sum((await owned(database)).values()) == put_count - taken_count
    assert await deadlocks(database) == before


async def deadlocks(database: Database) -> int:
    def count(cursor: Cursor) -> int:
        cursor.execute(
            "SELECT pg_stat_force_next_flush();"
            " SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        [(deadlock_count,)] = cursor.fetchall()
        return int(deadlock_count)

    return await database.autocommit(count)
