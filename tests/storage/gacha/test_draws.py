"""The gacha's catalog and its participant, on a real PostgreSQL."""

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.domain.catalog import Catalog, LiveCatalog
from gacha_svc.domain.errors import BannerNotFound, CatalogEmpty, OddsChanged
from gacha_svc.storage import pulls as storage
from gacha_svc.use_cases.catalog import Catalogs
from gacha_svc.use_cases.catalog_cache import CatalogCache
from gacha_svc.use_cases.draws import Draws
from mesh.postgres.database import Database
from mesh.txn.local.screening import local_screen
from mesh.txn.model import No, Operation, Yes
from proof.fairness import CHECKS_OF_DRAWS
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.drawing import Instance, changed, operation


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("draws", migrations_of(repository, "gacha_svc"))


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


@pytest.fixture
def cache(database: Database) -> CatalogCache:
    return CatalogCache(database)


@pytest.fixture
async def instance(database: Database, cache: CatalogCache, catalog: Catalog) -> Instance:
    await Catalogs(database, cache, lambda: catalog).introduce()
    return Instance.of(database, secrets.token_bytes, cache)


class Overtaken(CatalogCache):
    """The first catalog that it reads is replaced before it has locked anything."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._replaced = self.latest

    async def keep_current(self) -> None:
        """From here on the catalog that is known now counts as the one that is replaced."""
        self._replaced = await self.in_force()

    def refreshed(self, cursor: Cursor) -> LiveCatalog:
        found = super().refreshed(cursor)
        replaced, self._replaced = self._replaced, found
        return replaced if replaced.banners else found


async def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    def select(cursor: Cursor) -> list[tuple[object, ...]]:
        cursor.execute(statement)
        return cursor.fetchall()

    return await database.autocommit(select)


async def test_introducing_the_same_catalog_again_changes_nothing(
    database: Database, cache: CatalogCache, catalog: Catalog
) -> None:
    catalogs = Catalogs(database, cache, lambda: catalog)
    first, *others = await asyncio.gather(*(catalogs.introduce() for _ in range(4)))
    assert all(other == first for other in others)
    assert first.revision == 1
    assert first.banners == catalog.banners
    assert len(first.items) == len(catalog.items)


async def test_a_changed_banner_gets_new_odds_and_the_old_ones_stay_on_record(
    database: Database, cache: CatalogCache, catalog: Catalog
) -> None:
    await Catalogs(database, cache, lambda: catalog).introduce()
    dearer = changed(catalog, price_gems=catalog.banners[0].price_gems + 1)
    live = await Catalogs(database, cache, lambda: dearer).introduce()
    assert live.revision == 2
    assert live.banners[0] == dearer.banners[0]
    versions = {version for (version,) in await rows(database, "SELECT odds_version FROM odds")}
    assert {catalog.banners[0].odds_version, dearer.banners[0].odds_version} <= versions


async def test_a_banner_that_left_the_catalog_is_gone_for_players(
    database: Database, cache: CatalogCache, catalog: Catalog
) -> None:
    await Catalogs(database, cache, lambda: catalog).introduce()
    fewer = Catalog(items=catalog.items, banners=catalog.banners[1:])
    live = await Catalogs(database, cache, lambda: fewer).introduce()
    with pytest.raises(BannerNotFound):
        live.banner(catalog.banners[0].id)


async def test_before_the_first_introduction_every_banner_asks_for_it(
    cache: CatalogCache,
) -> None:
    with pytest.raises(CatalogEmpty, match="InitDb"):
        (await cache.to_show()).banner("standard")


async def test_a_catalog_that_was_replaced_before_its_locks_draws_nothing(
    database: Database, cache: CatalogCache, catalog: Catalog
) -> None:
    await Catalogs(database, cache, lambda: catalog).introduce()
    overtaken = Overtaken(database)
    await overtaken.keep_current()
    instance = Instance.of(database, secrets.token_bytes, overtaken)
    player = str(uuid4())
    (first,) = await instance.apply(operation(catalog.banners[0], player))
    assert isinstance(first, Yes)
    dearer = changed(catalog, price_gems=catalog.banners[0].price_gems + 1)
    await Catalogs(database, cache, lambda: dearer).introduce()
    (vote,) = await instance.apply(operation(catalog.banners[0], player))
    assert isinstance(vote, No)
    assert vote.reason == OddsChanged.REASON


async def test_a_pull_answers_what_is_stored_and_owned(
    database: Database, instance: Instance, catalog: Catalog
) -> None:
    asked = operation(catalog.banners[0], count=10)
    (vote,) = await instance.apply(asked)
    assert isinstance(vote, Yes)
    (record,) = await database.autocommit(lambda cursor: storage.find_pulls(cursor, [asked.id]))
    answered = [(item.item_id, item.name, item.rarity) for item in vote.result]
    stored = [(drawn.item.id, drawn.item.name, drawn.item.rarity) for drawn in record.items]
    assert answered == stored
    assert len(stored) == 10
    assert record.draw == asked.body
    owned = await database.autocommit(
        lambda cursor: storage.list_inventory(cursor, asked.body.user_id, None, 100)
    )
    assert sum(holding.count for holding in owned) == 10
    assert {holding.item.id for holding in owned} == {item_id for item_id, _, _ in answered}


async def test_a_batch_votes_on_each_draw_by_itself(
    database: Database, instance: Instance, catalog: Catalog
) -> None:
    banner = catalog.banners[0]
    first = operation(banner)
    same_player = operation(banner, first.body.user_id)
    stale = operation(banner)
    stale = replace(stale, body=replace(stale.body, odds_version="older"))
    votes = await instance.apply(first, same_player, stale, operation(banner))
    assert isinstance(votes[0], Yes)
    assert votes[1] == No("BUSY")
    assert isinstance(votes[2], No)
    assert votes[2].reason == "ODDS_CHANGED"
    assert isinstance(votes[3], Yes)
    assert await instance.apply(first) == [No("DUPLICATE")]
    assert await rows(database, "SELECT count(*) FROM pull") == [(2,)]


async def test_a_screen_foresees_the_refusals_of_a_branch_and_changes_nothing(
    database: Database, cache: CatalogCache, instance: Instance, catalog: Catalog
) -> None:
    limited = changed(catalog, pull_limit=10)
    await Catalogs(database, cache, lambda: limited).introduce()
    banner, other = limited.banners[:2]
    done, held_back = operation(banner, count=10), operation(other)
    await instance.apply(done)
    await instance.apply(operation(other, held_back.body.user_id))
    gid, _ = await instance.prepare(operation(other, held_back.body.user_id))
    over = operation(banner, done.body.user_id)
    stale = replace(over, id=str(uuid4()), body=replace(over.body, odds_version="older"))
    fine = [operation(banner), operation(other)]
    asked: list[Operation[Any]] = [done, held_back, over, stale, *fine]

    draws = Draws(CatalogCache(database), lambda seed: secrets.token_bytes)
    screen = local_screen(database, draws.screen)
    for _ in range(2):
        refused = await screen(asked)
        assert {id: refusal.reason for id, refusal in refused.items()} == {
            done.id: "DUPLICATE",
            held_back.id: "BUSY",
            over.id: "BANNER_PULL_LIMIT",
            stale.id: "ODDS_CHANGED",
        }
    votes = await instance.apply(*asked)
    assert [isinstance(vote, No) for vote in votes] == [True] * 4 + [False] * 2
    await instance.commit(gid)


async def test_odds_that_another_process_changed_are_noticed_in_the_branch(
    database: Database, instance: Instance, catalog: Catalog
) -> None:
    dearer = changed(catalog, price_gems=catalog.banners[0].price_gems + 1)
    await Catalogs(database, CatalogCache(database), lambda: dearer).introduce()
    (vote,) = await instance.apply(operation(catalog.banners[0]))
    assert isinstance(vote, No)
    assert vote.reason == "ODDS_CHANGED"
    (vote,) = await instance.apply(operation(dearer.banners[0]))
    assert isinstance(vote, Yes)


async def test_pity_is_carried_between_banners_of_one_kind(
    database: Database, instance: Instance, catalog: Catalog
) -> None:
    banner = catalog.banners[0]
    first = operation(banner)
    await instance.apply(first)
    second = operation(banner, first.body.user_id)
    await instance.apply(second)
    records = await database.autocommit(
        lambda cursor: storage.list_pulls(cursor, first.body.user_id, None, 10)
    )
    newest, oldest = records[0].items[0], records[1].items[0]
    assert oldest.pity == 1
    assert newest.pity == (1 if oldest.item.rarity == "ultra rare" else 2)


async def test_pity_that_another_transaction_holds_is_busy_at_once(
    database: Database, instance: Instance, catalog: Catalog
) -> None:
    banner = catalog.banners[0]
    first = operation(banner)
    await instance.apply(first)

    gid, _ = await instance.prepare(operation(banner, first.body.user_id))
    assert await instance.apply(operation(banner, first.body.user_id)) == [No("BUSY")]
    await instance.commit(gid)


async def test_a_first_pull_beside_one_that_is_held_back_is_drawn(
    instance: Instance, catalog: Catalog
) -> None:
    banner = catalog.banners[0]
    first = operation(banner)
    await instance.apply(first)
    gid, _ = await instance.prepare(operation(banner, first.body.user_id))
    held_back, drawn = await instance.apply(
        operation(banner, first.body.user_id), operation(banner)
    )
    assert held_back == No("BUSY")
    assert isinstance(drawn, Yes)
    await instance.commit(gid)


async def test_a_limited_banner_counts_single_draws(
    database: Database, cache: CatalogCache, instance: Instance, catalog: Catalog
) -> None:
    limited = changed(catalog, pull_limit=11)
    await Catalogs(database, cache, lambda: limited).introduce()
    banner = limited.banners[0]
    first = operation(banner, count=10)
    player = first.body.user_id
    assert isinstance((await instance.apply(first))[0], Yes)
    (refused,) = await instance.apply(operation(banner, player, count=10))
    assert isinstance(refused, No)
    assert (refused.reason, refused.metadata["pulls_left"]) == ("BANNER_PULL_LIMIT", "1")
    assert isinstance((await instance.apply(operation(banner, player)))[0], Yes)


async def test_draws_made_while_a_banner_had_no_limit_count_once_it_has_one(
    database: Database, cache: CatalogCache, instance: Instance, catalog: Catalog
) -> None:
    limited, unlimited = changed(catalog, pull_limit=4), changed(catalog, pull_limit=0)
    player = str(uuid4())
    for draw_count, in_force in enumerate((unlimited, limited, unlimited, limited)):
        await Catalogs(database, cache, lambda: in_force).introduce()  # noqa: B023 (used at once)
        (vote,) = await instance.apply(operation(in_force.banners[0], player))
        assert isinstance(vote, Yes), f"after {draw_count} draws"
    (refused,) = await instance.apply(operation(limited.banners[0], player))
    assert isinstance(refused, No)
    assert refused.metadata == {"pull_limit": "4", "pulls_left": "0"}


@pytest.mark.parametrize("limit_before", [0, 1_000])
async def test_a_draw_that_is_prepared_while_its_banner_changes_kind_counts_for_the_new_limit(
    database: Database,
    cache: CatalogCache,
    catalog: Catalog,
    limit_before: int,
) -> None:
    """The two draw different items, so that no inventory's row holds the second back."""
    before = changed(catalog, pull_limit=limit_before)
    await Catalogs(database, cache, lambda: before).introduce()
    player = str(uuid4())
    instance = Instance.of(database, lambda count: b"\0" * count)
    gid, _ = await instance.prepare(operation(before.banners[0], player))
    limited = changed(catalog, kind="another", pull_limit=1)
    await Catalogs(database, cache, lambda: limited).introduce()
    other = Instance.of(database, lambda count: b"\7" * count)
    asked = operation(limited.banners[0], player)
    assert await other.apply(asked) == [No("BUSY")]
    await instance.commit(gid)
    (refused,) = await other.apply(asked)
    assert isinstance(refused, No)
    assert refused.metadata == {"pull_limit": "1", "pulls_left": "0"}
    for check in ("no player has passed", "a count of draws is"):
        (statement,) = [each for name, each in CHECKS_OF_DRAWS.items() if name.startswith(check)]
        assert await rows(database, statement) == []


async def test_a_count_waits_for_no_other_player(
    database: Database, cache: CatalogCache, instance: Instance, catalog: Catalog
) -> None:
    limited = changed(catalog, pull_limit=10)
    await Catalogs(database, cache, lambda: limited).introduce()
    counted, other = limited.banners[:2]
    player = str(uuid4())
    await instance.apply(operation(other, player))
    gid, _ = await instance.prepare(operation(other, player))
    held_back, drawn = await instance.apply(operation(counted, player), operation(counted))
    assert held_back == No("BUSY")
    assert isinstance(drawn, Yes)
    await instance.commit(gid)
    assert isinstance((await instance.apply(operation(counted, player)))[0], Yes)


async def test_a_batch_takes_no_more_statements_than_one_pull(
    database: Database, cache: CatalogCache, instance: Instance, catalog: Catalog
) -> None:
    class Counting:
        def __init__(self, cursor: Cursor) -> None:
            self._cursor = cursor
            self.count = 0

        def execute(self, *arguments: object) -> None:
            self.count += 1
            self._cursor.execute(*arguments)  # type: ignore[arg-type]

        def __getattr__(self, name: str) -> object:
            return getattr(self._cursor, name)

    limited = changed(catalog, pull_limit=11)
    await Catalogs(database, cache, lambda: limited).introduce()
    draws = Draws(cache, lambda seed: secrets.token_bytes)

    async def statements(batch: int) -> int:
        firsts = [operation(limited.banners[0]) for _ in range(batch)]
        await instance.apply(*firsts)
        seconds = [operation(limited.banners[0], first.body.user_id) for first in firsts]

        def run(cursor: Cursor) -> int:
            counting = Counting(cursor)
            votes = draws.apply(counting, seconds)  # type: ignore[arg-type]
            assert all(isinstance(vote, Yes) for vote in votes)
            return counting.count

        return await database.transaction(run)

    assert await statements(1) == await statements(100)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM pull",
        "UPDATE pull SET pull_id = gen_random_uuid()",
        "UPDATE pull_item SET pull_id = gen_random_uuid()",
        "INSERT INTO pull_item (pull_id, position, item_id, name, rarity, featured, pity)"
        " SELECT gen_random_uuid(), 1, item_id, name, rarity, featured, pity FROM pull_item",
    ],
)
async def test_no_statement_can_part_an_item_from_its_pull(
    instance: Instance, catalog: Catalog, database: Database, statement: str
) -> None:
    await instance.apply(operation(catalog.banners[0]))
    # The rules bind the owner too, who has every privilege.
    with pytest.raises(psycopg2.IntegrityError):
        await as_owner(database, lambda cursor: cursor.execute(statement))
