"""The checks of what players were promised of the draws, on what was drawn and on harmed rows."""

import random
from pathlib import Path
from uuid import UUID

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.use_cases.catalog import Catalogs
from gacha_svc.use_cases.catalog_cache import CatalogCache
from mesh.postgres.database import Database
from proof.fairness import CHECKS_OF_DRAWS
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.drawing import Instance, changed, operation

PLAYERS = [str(UUID(int=number)) for number in range(1, 4)]
ROUNDS = 60
LIMIT = 10_000

HARM = {
    "a seed that is drawn by again": (
        "UPDATE pull SET seed = first.seed FROM (SELECT seed FROM pull LIMIT 1) AS first",
        {"a seed is drawn by once"},
    ),
    "a pity number too high": (
        "UPDATE pull_item SET pity = pity + 1 WHERE pull_id = (SELECT pull_id FROM pull LIMIT 1)",
        {"pity numbers have no holes and no repeats"},
    ),
    "a pity that starts again": (
        "UPDATE pity SET since_ultra_rare = 0, since_super_rare = 0 WHERE kind = 'beginner'",
        {"a pity is what its player's items say"},
    ),
    "a count of super rares that is not updated": (
        "UPDATE pity SET since_super_rare = since_super_rare + 1",
        {"a pity is what its player's items say"},
    ),
    "a guarantee that is forgotten": (
        "UPDATE pity SET super_rare_guaranteed = NOT super_rare_guaranteed WHERE kind = 'limited'",
        {"a pity is what its player's items say"},
    ),
    "a pity row that is gone": (
        "DELETE FROM pity WHERE kind = 'limited'",
        {"a pity is what its player's items say"},
    ),
    "a guarantee that is not kept": (
        """
        UPDATE pull_item SET featured = false, featured_guaranteed = false
        WHERE rarity <> 'rare' AND pull_id IN (
            SELECT pull_id FROM pull WHERE banner_id = 'lamplighter')
        """,
        {"after an item that was not featured the next of its rarity is"},
    ),
    "a guarantee that is not told": (
        "UPDATE pull_item SET featured_guaranteed = false WHERE featured_guaranteed",
        {"an item says which guarantee gave it"},
    ),
    "a guarantee that is told of another": (
        """
        UPDATE pull_item SET featured_guaranteed = true
        WHERE featured AND NOT featured_guaranteed
        """,
        {"an item says which guarantee gave it"},
    ),
    "a tenth that says nothing of its guarantee": (
        "UPDATE pull_item SET ten_pull_guaranteed = false WHERE ten_pull_guaranteed",
        {"an item says which guarantee gave it"},
    ),
    "a hard pity that is not kept": (
        """
        UPDATE pull_item SET rarity = 'rare', featured = false, featured_guaranteed = false,
                             ten_pull_guaranteed = false
        """,
        {"a hard pity is kept", "a ten-pull has what its banner guarantees"},
    ),
    "a limit that is passed": (
        """
        ALTER TABLE banner_history DISABLE TRIGGER USER;
        UPDATE banner_history SET offer = jsonb_set(offer, '{pull_limit}', '15')
        WHERE banner_id = 'standard'
        """,
        {"no player has passed a banner's limit"},
    ),
    "a price that is not paid": (
        "UPDATE pull SET cost = cost - 1 WHERE pull_id = (SELECT pull_id FROM pull LIMIT 1)",
        {"a pull was drawn by the odds and at the price in force at its time"},
    ),
    "odds of another banner": (
        """
        UPDATE pull SET odds_version = banner.odds_version FROM banner
        WHERE banner.banner_id = 'beginner' AND pull.banner_id = 'standard'
        """,
        {"a pull was drawn by the odds and at the price in force at its time"},
    ),
    "odds that came into force after a pull": (
        """
        ALTER TABLE banner_history DISABLE TRIGGER USER;
        UPDATE banner_history SET since = since + interval '2 minutes'
        """,
        {"a pull was drawn by the odds and at the price in force at its time"},
    ),
    "a change that its history lacks": (
        "UPDATE banner SET position = NULL WHERE banner_id = 'beginner'",
        {"the last row of a banner's history is what is in force"},
    ),
    "a count of draws that is lost": (
        "UPDATE pull_count SET draw_count = draw_count - 1 WHERE draw_count > 0",
        {"a count of draws is that of its player's pulls"},
    ),
}


@pytest.fixture(scope="module")
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("fairness", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def database(schema: Database, repository: Path) -> Database:
    """Some hundred draws of three players on all banners, from a fixed seed."""
    await empty(schema)
    await as_owner(
        schema, lambda cursor: cursor.execute("INSERT INTO catalog_revision DEFAULT VALUES")
    )
    path = repository / "gacha_svc" / "catalog.yaml"
    catalog = changed(parse_catalog(path.read_bytes(), path.name), pull_limit=LIMIT)
    await Catalogs(schema, CatalogCache(schema), lambda: catalog).introduce()
    chance = random.Random(12)
    instance = Instance.of(schema, chance.randbytes)
    for _ in range(ROUNDS):
        batch = [
            operation(chance.choice(catalog.banners), player, chance.choice((1, 10)))
            for player in PLAYERS
        ]
        await instance.apply(*batch)
    return schema


UNLIKE = {
    "a mode of the guarantee that is not followed": (
        "{guarantee_mode}",
        '"keepTopRate"',
    ),
    "a rate that is not followed": ("{rules,0,base_rate_ppm}", "10000"),
    "a rate below that is not followed": ("{rules,1,base_rate_ppm}", "60000"),
    "a soft pity that is not followed": (
        "{rules,0,soft_pity}",
        '{"from_pull": 3, "step_ppm": 300000}',
    ),
    "a hard pity that is not followed": ("{rules,0,hard_pity}", "6"),
}


async def test_rarities_that_come_unlike_their_odds_are_noticed(
    database: Database, repository: Path
) -> None:
    """By draws of a banner on which the two modes of a guarantee differ widely."""
    path = repository / "gacha_svc" / "catalog.yaml"
    catalog = parse_catalog(path.read_bytes(), path.name)
    rules = [rule.model_dump() for rule in catalog.banners[0].rules]
    for rule, rate_ppm in zip(rules, (100_000, 10_000, 890_000), strict=True):
        rule |= {"base_rate_ppm": rate_ppm, "soft_pity": None, "hard_pity": None}
    unlike = changed(catalog, rules=rules, ten_pull_guarantee="super rare", kind="unlike")
    await Catalogs(database, CatalogCache(database), lambda: unlike).introduce()
    instance = Instance.of(database, random.Random(7).randbytes)
    for _ in range(40):
        await instance.apply(*(operation(unlike.banners[0], player, 10) for player in PLAYERS))
    assert await database.autocommit(broken) == set()
    version = unlike.banners[0].odds_version
    for harm, (path_of_field, value) in UNLIKE.items():

        def harmed(cursor: Cursor, field: str = path_of_field, value: str = value) -> set[str]:
            cursor.execute("BEGIN; ALTER TABLE odds DISABLE TRIGGER USER")
            cursor.execute(
                "UPDATE odds SET definition = jsonb_set(definition, %s, %s)"
                " WHERE odds_version = %s",
                (field, value, version),
            )
            names = broken(cursor)
            cursor.execute("ROLLBACK")
            return names

        found = await as_owner(database, harmed)
        assert "each rarity comes as often as its odds say" in found, harm


def broken(cursor: Cursor) -> set[str]:
    names: set[str] = set()
    for name, statement in CHECKS_OF_DRAWS.items():
        cursor.execute(statement)
        if cursor.fetchall():
            names.add(name)
    return names


async def test_what_was_drawn_breaks_no_check_and_each_harm_breaks_its_own(
    database: Database,
) -> None:
    assert await database.autocommit(broken) == set()
    for harm, (statement, expected) in HARM.items():

        def harmed(cursor: Cursor, statement: str = statement) -> set[str]:
            cursor.execute("BEGIN")
            cursor.execute(statement)
            assert cursor.rowcount, harm  # noqa: B023 (used at once)
            names = broken(cursor)
            cursor.execute("ROLLBACK")
            return names

        found = await as_owner(database, harmed)
        assert expected <= found, harm
