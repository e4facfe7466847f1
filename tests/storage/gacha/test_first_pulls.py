"""First pulls of one player and kind at the same time, through two gacha instances."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.domain.banners import Banner
from gacha_svc.domain.catalog import Catalog
from gacha_svc.domain.pulls import Draw
from gacha_svc.domain.randomness import RandomBytes
from gacha_svc.use_cases.catalog import Catalogs
from gacha_svc.use_cases.catalog_cache import CatalogCache
from mesh.errors import MeshError
from mesh.postgres.database import Database
from mesh.txn.model import BUSY, No, Operation, Yes
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.drawing import Instance, changed, operation

PAUSE_SECONDS = 0.05
"""Below the lock timeout of a branch, so that a branch that waits for a lock is granted it."""
RARE, ULTRA_RARE, NOT_FEATURED = 500_000, 0, 999_999
"""Rolls of a million."""
Row = tuple[object, ...]


def rolls(*millions: int) -> RandomBytes:
    """Those rolls of a million, and RARE after them. Every choice of an item takes the first."""
    left = list(millions)

    def random_bytes(count: int) -> bytes:
        return (left.pop(0) if left else RARE).to_bytes(3, "big") if count == 3 else bytes(count)

    return random_bytes


class House(NamedTuple):
    """A database with a catalog in force."""

    database: Database
    catalog: Catalog

    def instance(self, *millions: int) -> Instance:
        return Instance.of(self.database, rolls(*millions))

    async def put_in_force(self, catalog: Catalog) -> None:
        await Catalogs(self.database, CatalogCache(self.database), lambda: catalog).introduce()

    def banner(self, banner_id: str) -> Banner:
        return next(each for each in self.catalog.banners if each.id == banner_id)

    async def rows(self, statement: str, user_id: str) -> list[Row]:
        def select(cursor: Cursor) -> list[Row]:
            cursor.execute(statement, (user_id,))
            return cursor.fetchall()

        return await self.database.autocommit(select)


@pytest.fixture(scope="module")
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("first_pulls", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def house(schema: Database, repository: Path) -> House:
    await empty(schema)
    await as_owner(
        schema, lambda cursor: cursor.execute("INSERT INTO catalog_revision DEFAULT VALUES")
    )
    path = repository / "gacha_svc" / "catalog.yaml"
    house = House(schema, parse_catalog(path.read_bytes(), path.name))
    await house.put_in_force(house.catalog)
    return house


async def overlapping(
    first: Instance, second: Instance, operations: Iterable[Operation[Draw]]
) -> object:
    """Prepares one operation, and another while that is prepared; then commits both in order.
    Returns the second's vote or error."""
    one, other = operations
    gid, (vote,) = await first.prepare(one)
    assert isinstance(vote, Yes)
    preparing = asyncio.create_task(second.prepare(other))
    await asyncio.sleep(PAUSE_SECONDS)
    await first.commit(gid)
    try:
        later_gid, (later_vote,) = await preparing
    except MeshError as error:
        return error
    if isinstance(later_vote, Yes):
        await second.commit(later_gid)
    return later_vote


async def test_a_pull_beside_a_prepared_first_one_of_its_kind_comes_after_it(house: House) -> None:
    banner = house.banner("standard")
    first, second = house.instance(), house.instance()
    one = operation(banner)
    other = operation(banner, one.body.user_id)
    vote = await overlapping(first, second, (one, other))
    if vote == No(BUSY):  # it waits a moment only
        (vote,) = await second.apply(other)
    assert isinstance(vote, Yes)
    pities = await house.rows(
        "SELECT pity FROM pull JOIN pull_item USING (pull_id) WHERE user_id = %s ORDER BY number",
        one.body.user_id,
    )
    assert pities == [(1,), (2,)]
    counts = "SELECT since_ultra_rare, since_super_rare FROM pity WHERE user_id = %s"
    assert await house.rows(counts, one.body.user_id) == [(2, 2)]


async def test_a_guarantee_from_a_first_pull_outlives_the_pull_beside_it(house: House) -> None:
    banner = house.banner("lamplighter")
    first, second = house.instance(ULTRA_RARE, NOT_FEATURED), house.instance()
    one = operation(banner)
    other = operation(banner, one.body.user_id)
    await overlapping(first, second, (one, other))
    await second.apply(other)
    guarantee = "SELECT ultra_rare_guaranteed FROM pity WHERE user_id = %s"
    assert await house.rows(guarantee, one.body.user_id) == [(True,)]


async def test_two_first_pulls_at_once_do_not_pass_a_limit(house: House) -> None:
    limited = changed(house.catalog, pull_limit=10)
    await house.put_in_force(limited)
    banner = limited.banners[0]
    first, second = house.instance(), house.instance()
    one = operation(banner, count=10)
    other = operation(banner, one.body.user_id, count=10)
    await overlapping(first, second, (one, other))
    (vote,) = await second.apply(other)
    assert isinstance(vote, No)
    drawn = "SELECT sum(count) FROM pull WHERE user_id = %s"
    assert await house.rows(drawn, one.body.user_id) == [(10,)]


async def test_an_aborted_first_pull_leaves_no_pity(house: House) -> None:
    banner = house.banner("standard")
    first, second = house.instance(), house.instance()
    one = operation(banner)
    gid, _ = await first.prepare(one)
    await first.participant.abort(gid)
    (vote,) = await second.apply(operation(banner, one.body.user_id))
    assert isinstance(vote, Yes)
    counts = "SELECT since_ultra_rare FROM pity WHERE user_id = %s"
    assert await house.rows(counts, one.body.user_id) == [(1,)]
