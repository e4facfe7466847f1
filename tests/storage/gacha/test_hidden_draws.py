"""What a pull has drawn shows in nothing before it takes effect: its player's items are busy
alike."""

import asyncio
import secrets
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.domain.banners import Banner
from gacha_svc.domain.randomness import seeded
from gacha_svc.storage import inventories
from gacha_svc.use_cases.catalog import Catalogs
from gacha_svc.use_cases.catalog_cache import CatalogCache
from mesh.postgres.database import Database, LockTimeout
from mesh.txn.model import BUSY, No, Yes
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.drawing import Instance, operation
from tests.storage.holding import held

SECRET = secrets.token_bytes(32)


@pytest.fixture(scope="module")
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("hidden", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def database(schema: Database) -> Database:
    await empty(schema)
    await as_owner(
        schema, lambda cursor: cursor.execute("INSERT INTO catalog_revision DEFAULT VALUES")
    )
    return schema


@pytest.fixture
async def banner(database: Database, repository: Path) -> Banner:
    """The first banner of the packaged catalog, which is in force."""
    path = repository / "gacha_svc" / "catalog.yaml"
    catalog = parse_catalog(path.read_bytes(), path.name)
    await Catalogs(database, CatalogCache(database), lambda: catalog).introduce()
    return catalog.banners[0]


def items_of(banner: Banner) -> set[int]:
    return {
        item_id for rule in banner.rules for item_id in (*rule.standard_ids, *rule.featured_ids)
    }


async def give(database: Database, player: str, item_ids: Collection[int]) -> None:
    def put(cursor: Cursor) -> None:
        for item_id in item_ids:
            inventories.put(cursor, player, item_id, 1)

    await database.transaction(put)


async def is_busy(database: Database, work: Callable[[Cursor], object]) -> bool:
    """Whether it has to wait, or gets nothing because it does not wait."""
    try:
        return not await database.transaction(work, lock_timeout_ms=20)
    except LockTimeout:
        return True


@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("is_owned", [True, False])
async def test_all_items_of_a_player_who_pulls_are_busy_alike(
    database: Database, banner: Banner, count: int, is_owned: bool
) -> None:
    player, items = str(uuid4()), items_of(banner)
    if is_owned:
        await give(database, player, items)
    gacha = Instance.seeded(database, partial(seeded, SECRET))
    gid, (vote,) = await gacha.prepare(operation(banner, player, count))
    assert isinstance(vote, Yes)
    drawn = {item.item_id for item in vote.result}
    assert drawn < items, "so that some were not drawn"
    ways: list[Callable[[int, Cursor], object]] = [
        lambda item, cursor: inventories.put(cursor, player, item, 1),
        lambda item, cursor: inventories.put_into_free(cursor, {(player, item): 1}),
        lambda item, cursor: inventories.lock_free(cursor, [(player, item)]),
    ]
    if is_owned:
        ways.append(lambda item, cursor: inventories.wait_for(cursor, [(player, item)]))
    for way in ways:
        busy = {item for item in items if await is_busy(database, partial(way, item))}
        assert busy == items
    await gacha.commit(gid)
    for way in ways[:2]:
        assert not await is_busy(database, partial(way, min(items)))


async def test_a_pull_waits_for_no_item_that_another_transaction_changes(
    database: Database, banner: Banner
) -> None:
    player, other = str(uuid4()), str(uuid4())
    gacha = Instance.seeded(database, partial(seeded, SECRET))
    for user_id in (player, other):
        await gacha.apply(operation(banner, user_id))
    async with held(database, lambda c: inventories.put(c, player, max(items_of(banner)), 1)):
        votes = await gacha.apply(operation(banner, player), operation(banner, other))
    assert votes[0] == No(BUSY)
    assert isinstance(votes[1], Yes)
    (vote,) = await gacha.apply(operation(banner, player))
    assert isinstance(vote, Yes)


async def test_gifts_of_a_player_do_not_wait_for_one_another(
    database: Database, banner: Banner
) -> None:
    player = str(uuid4())
    one, two, *_ = sorted(items_of(banner))
    async with held(database, lambda cursor: inventories.put(cursor, player, one, 1)):
        assert not await is_busy(database, lambda c: inventories.put(c, player, two, 1))


async def test_a_pull_alone_gets_its_turn_among_gifts_that_never_pause(
    database: Database, banner: Banner
) -> None:
    player = str(uuid4())
    gacha = Instance.seeded(database, partial(seeded, SECRET))
    await gacha.apply(operation(banner, player))
    item = min(items_of(banner))

    def put(cursor: Cursor) -> None:
        inventories.put(cursor, player, item, 1)
        cursor.execute("SELECT pg_sleep(0.03)")

    is_over = asyncio.Event()

    async def go_on() -> None:
        while not is_over.is_set():
            await database.transaction(put)

    giving = [asyncio.create_task(go_on()) for _ in range(3)]
    try:
        for _ in range(3):
            # On a busy machine the gifts of the moment may take longer than it waits.
            tries = [await gacha.apply(operation(banner, player)) for _ in range(4)]
            assert any(isinstance(vote, Yes) for (vote,) in tries)
    finally:
        is_over.set()
        await asyncio.gather(*giving)


async def test_a_pull_alone_does_not_wait_long(database: Database, banner: Banner) -> None:
    player = str(uuid4())
    gacha = Instance.seeded(database, partial(seeded, SECRET))
    await gacha.apply(operation(banner, player))
    async with held(database, lambda c: inventories.put(c, player, min(items_of(banner)), 1)):
        assert await gacha.apply(operation(banner, player)) == [No(BUSY)]
