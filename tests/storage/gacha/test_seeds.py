"""What a pull draws is fixed before anything that depends on it can fail."""

import secrets
from collections.abc import Collection
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.domain.banners import Banner
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.pulls import Pull, PulledItem
from gacha_svc.domain.randomness import seeded
from gacha_svc.storage import pulls as storage
from gacha_svc.use_cases.catalog import Catalogs
from gacha_svc.use_cases.catalog_cache import CatalogCache
from mesh.postgres.database import Database, LockTimeout
from mesh.txn.model import Yes
from proof.faults.checks.drawn_again import PULLS, unlike
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.drawing import DrawVotes, Instance, operation
from tests.storage.holding import held

SECRET = secrets.token_bytes(32)


@pytest.fixture(scope="module")
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("seeds", migrations_of(repository, "gacha_svc"))


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


def instance(database: Database) -> Instance:
    """A gacha instance, with its own cache and the secret that all share."""
    return Instance.seeded(database, partial(seeded, SECRET))


def drawn(votes: DrawVotes) -> tuple[PulledItem, ...]:
    (vote,) = votes
    assert isinstance(vote, Yes)
    return vote.result


async def owning_all(database: Database, banner: Banner) -> str:
    """A new player who owns one of each item of the banner."""
    player = str(uuid4())
    ids = [
        item_id
        for rule in banner.rules
        for item_id in (*rule.standard_ids, *(rule.featured_ids if rule.featured else ()))
    ]

    def give(cursor: Cursor) -> None:
        cursor.execute("INSERT INTO inventory SELECT %s, unnest(%s), 1", (player, ids))

    await database.autocommit(give)
    return player


def changing(player: str, item_ids: Collection[int], cursor: Cursor) -> None:
    """Locks the player's rows of those items, as gifts of them do."""
    cursor.execute(
        "UPDATE inventory SET count = count + 1 WHERE user_id = %s AND item_id = ANY(%s)",
        (player, list(item_ids)),
    )


async def seeds(database: Database, player: str) -> tuple[list[UUID], list[UUID]]:
    """The seeds of the player's pulls in order, and those of the pities."""

    def read(cursor: Cursor, statement: str) -> list[UUID]:
        cursor.execute(statement, (player,))
        return [UUID(seed) for (seed,) in cursor.fetchall()]

    pulls = "SELECT seed FROM pull WHERE user_id = %s ORDER BY number"
    pities = "SELECT seed FROM pity WHERE user_id = %s"
    return (
        await database.autocommit(lambda cursor: read(cursor, pulls)),
        await database.autocommit(lambda cursor: read(cursor, pities)),
    )


@pytest.mark.parametrize("count", [1, 10])
async def test_a_pull_whose_item_was_locked_draws_that_item_again(
    database: Database, banner: Banner, count: int
) -> None:
    player = await owning_all(database, banner)
    asked = operation(banner, player, count)
    gid, votes = await instance(database).prepare(asked)
    items = drawn(votes)
    await instance(database).participant.abort(gid)
    item_ids = {item.item_id for item in items}
    async with held(database, partial(changing, player, item_ids)):
        with pytest.raises(LockTimeout):
            await instance(database).prepare(asked)
    assert drawn(await instance(database).apply(asked)) == items


@pytest.mark.parametrize("count", [1, 10])
async def test_neither_another_key_nor_another_number_of_pulls_draws_anew(
    database: Database, banner: Banner, count: int
) -> None:
    player = str(uuid4())
    gid, votes = await instance(database).prepare(operation(banner, player, 10))
    first = drawn(votes)
    await instance(database).participant.abort(gid)
    assert drawn(await instance(database).apply(operation(banner, player, count))) == first[:count]


async def test_each_pull_that_takes_effect_is_drawn_by_a_seed_of_its_own(
    database: Database, banner: Banner
) -> None:
    player = str(uuid4())
    answers, due = [], []
    for _ in range(4):
        answers.append(drawn(await instance(database).apply(operation(banner, player, 10))))
        due += (await seeds(database, player))[1]
    of_pulls, (next_one,) = await seeds(database, player)
    assert of_pulls[1:] == due[:-1]
    assert len({*of_pulls, next_one}) == 5
    assert len(set(answers)) == 4


async def test_pulls_are_drawn_again_from_what_is_stored(
    database: Database, banner: Banner
) -> None:
    players = [str(uuid4()) for _ in range(3)]
    for count in (1, 10, 1, 10):
        await instance(database).apply(*(operation(banner, each, count) for each in players))

    def select(cursor: Cursor) -> list[tuple[object, ...]]:
        cursor.execute(PULLS)
        return cursor.fetchall()

    pulls = await database.autocommit(select)
    terms = {banner.odds_version: banner.terms}
    items = (await CatalogCache(database).in_force()).items_by_id
    assert list(unlike(pulls, terms, items, partial(seeded, SECRET))) == []
    assert len(list(unlike(pulls, terms, items, partial(seeded, b"another")))) == len(players)


async def test_players_of_one_batch_draw_by_seeds_of_their_own(
    database: Database, banner: Banner
) -> None:
    batch = [operation(banner, count=10) for _ in range(3)]
    votes = await instance(database).apply(*batch)
    assert len({drawn([vote]) for vote in votes}) == 3


async def test_a_pull_is_not_stored_under_another_seed_than_that_of_its_pity(
    database: Database, banner: Banner
) -> None:
    asked = operation(banner).body
    pity = (asked.user_id, banner.kind)
    await database.autocommit(lambda cursor: storage.make_rows(cursor, [pity], []))
    pull = Pull(str(uuid4()), asked, banner.kind, str(uuid4()), Pity(1, 1), ())
    with pytest.raises(psycopg2.IntegrityError):
        await database.transaction(lambda cursor: storage.record(cursor, [pull], {}))
