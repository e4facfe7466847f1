"""What was in force when can be read for ever, and nobody can change it."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.domain.catalog import Catalog
from gacha_svc.domain.errors import BannerNotFound, OddsNotFound
from gacha_svc.domain.odds.published import disclose
from gacha_svc.use_cases.catalog import Catalogs
from gacha_svc.use_cases.catalog_cache import CatalogCache
from mesh.postgres.database import Database
from mesh.postgres.schema.migrations import read_migrations
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.drawing import changed

OTHER_POOL = [101, 102]


@pytest.fixture(scope="module")
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("banner_history", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def database(schema: Database) -> Database:
    await empty(schema)
    await as_owner(
        schema, lambda cursor: cursor.execute("INSERT INTO catalog_revision DEFAULT VALUES")
    )
    return schema


@pytest.fixture
def catalog(repository: Path) -> Catalog:
    path = repository / "gacha_svc" / "catalog.yaml"
    return parse_catalog(path.read_bytes(), path.name)


def with_other_odds(catalog: Catalog) -> Catalog:
    rules = [rule.model_dump() for rule in catalog.banners[0].rules]
    rules[2]["item_ids"] = OTHER_POOL
    return changed(catalog, rules=rules)


class House:
    """A database, into which catalogs are introduced."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.file: Any = None
        self.catalogs = Catalogs(database, CatalogCache(database), lambda: self.file)

    async def introduce(self, *catalogs: Catalog) -> None:
        for self.file in catalogs:
            await self.catalogs.introduce()

    async def versions(self, banner_id: str = "standard") -> list[str]:
        """Oldest first, in pages of two."""
        periods, token = await self.catalogs.history(banner_id, 2, "")
        while token:
            page, token = await self.catalogs.history(banner_id, 2, token)
            periods += page
        assert all(period.until is not None for period in periods[1:])
        assert [period.since for period in periods] == sorted(
            (period.since for period in periods), reverse=True
        )
        return [period.odds_version for period in reversed(periods)]


async def test_a_new_name_or_price_leaves_the_odds_and_their_history_as_they_are(
    database: Database, catalog: Catalog
) -> None:
    house = House(database)
    await house.introduce(
        catalog,
        changed(catalog, name="Corrected"),
        changed(catalog, description="Corrected.", price_gems=1, pull_limit=10),
    )
    shown = (await house.catalogs.banner("standard")).banner
    assert (shown.name, shown.description, shown.price_gems) != ("Corrected", "Corrected.", 1)
    assert (shown.description, shown.price_gems, shown.pull_limit) == ("Corrected.", 1, 10)
    assert await house.versions() == [catalog.banners[0].odds_version]


async def test_odds_are_in_force_from_their_introduction_until_the_next(
    database: Database, catalog: Catalog
) -> None:
    house, other = House(database), with_other_odds(catalog)
    gone = Catalog(items=catalog.items, banners=catalog.banners[1:])
    await house.introduce(catalog, other, changed(other, price_gems=1), gone, other, catalog)
    first, second = catalog.banners[0].odds_version, other.banners[0].odds_version
    assert await house.versions() == [first, second, second, first]
    assert await house.versions("beginner") == [catalog.banners[2].odds_version]
    newest, *_ = (await house.catalogs.history("standard", 0, ""))[0]
    assert newest.until is None
    _, again, before, oldest = (await house.catalogs.history("standard", 0, ""))[0]
    assert again.until == newest.since
    assert before.until is not None
    assert before.until < again.since, "it was out of the catalog between the two"
    assert oldest.until == before.since


async def test_a_banner_that_is_gone_keeps_its_history_and_one_that_never_was_has_none(
    database: Database, catalog: Catalog
) -> None:
    house = House(database)
    await house.introduce(catalog, Catalog(items=catalog.items, banners=catalog.banners[1:]))
    (period,), _ = await house.catalogs.history("standard", 0, "")
    assert period.until is not None
    with pytest.raises(BannerNotFound):
        await house.catalogs.history("nowhere", 0, "")


async def test_old_odds_are_read_as_they_were_published(
    database: Database, catalog: Catalog
) -> None:
    house, old = House(database), catalog.banners[0]
    await house.introduce(catalog)
    published = (await house.catalogs.banner("standard")).odds
    few = [item for item in catalog.items if item.id not in OTHER_POOL[:1]]
    renamed = few[-1].model_copy(update={"name": "Another name"})
    rules = [rule.model_dump() for rule in catalog.banners[0].rules]
    rules[2]["item_ids"] = [few[-1].id]
    only = changed(catalog, rules=rules).banners[0]
    await house.introduce(Catalog(items=(*few[:-1], renamed), banners=(only,)))
    kept = await House(database).catalogs.odds(old.odds_version)
    assert kept.disclosure == published.disclosure == disclose(old)
    assert kept.terms == old.terms
    # An item that left the catalog has a name still.
    assert kept.items_by_id[OTHER_POOL[0]].name
    assert kept.items_by_id[renamed.id].name == "Another name"
    with pytest.raises(OddsNotFound):
        await house.catalogs.odds("0" * 12)


async def test_introductions_at_the_same_time_leave_one_history(
    database: Database, catalog: Catalog
) -> None:
    houses = [House(database) for _ in range(4)]
    files = [catalog, with_other_odds(catalog)] * 2
    for house, file in zip(houses, files, strict=True):
        house.file = file
    await asyncio.gather(*(house.catalogs.introduce() for house in houses for _ in range(3)))
    versions = await houses[0].versions()
    assert all(one != other for one, other in pairwise(versions))
    in_force = (await houses[1].catalogs.banner("standard")).odds.odds_version
    assert versions[-1] == in_force


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE banner_history SET since = since - interval '1 day'",
        "DELETE FROM banner_history",
        "UPDATE odds SET definition = '{}'",
        "DELETE FROM odds",
    ],
)
async def test_the_past_cannot_be_changed(database: Database, catalog: Catalog, harm: str) -> None:
    await House(database).introduce(catalog)
    with pytest.raises(errors.IntegrityError):
        await as_owner(database, lambda cursor: cursor.execute(harm))


async def test_a_database_from_before_keeps_its_banners_odds_and_their_beginnings(
    database_url: str, catalog: Catalog, repository: Path
) -> None:
    """Whatever hash its versions have: they are names, and stay until a catalog is introduced."""
    old, banner = "0123456789ab", catalog.banners[2]
    migrations = read_migrations(repository / "gacha_svc" / "migrations")
    history = next(one for one in migrations if "banner_history" in one.sql)
    database = Database(database_url, connection_count=2)
    for one in migrations[: migrations.index(history)]:
        await database.autocommit(lambda cursor, sql=one.sql: cursor.execute(sql))  # type: ignore[misc]

    def fill(cursor: Cursor) -> None:
        for item in catalog.items:
            cursor.execute(
                "INSERT INTO item VALUES (%s, %s, %s, 1)", (item.id, item.name, item.rarity.value)
            )
        definition = banner.model_dump_json()
        cursor.execute("INSERT INTO odds VALUES (%s, %s, %s)", (old, banner.id, definition))
        cursor.execute("INSERT INTO banner VALUES (%s, %s, 1)", (banner.id, old))
        cursor.execute("UPDATE catalog_revision SET revision = 1")

    await database.autocommit(fill)
    for one in migrations[migrations.index(history) :]:
        await database.autocommit(lambda cursor, sql=one.sql: cursor.execute(sql))  # type: ignore[misc]
    house = House(database)
    shown = await house.catalogs.banner(banner.id)
    assert (shown.banner, shown.odds.odds_version) == (banner, old)
    assert (await house.catalogs.odds(old)).terms == banner.terms
    assert await house.versions(banner.id) == [old]
    await house.introduce(Catalog(items=catalog.items, banners=(banner,)))
    assert await house.versions(banner.id) == [old, banner.odds_version]
    database.close()
