"""The catalog in the gacha database: the one in force, and every version of the odds.

Every change raises the revision in the same transaction. So a reader compares revisions to know
whether its catalog is still in force.
"""

import json

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.catalog import Catalog, LiveCatalog


def find_revision(cursor: Cursor) -> int:
    """The revision in force."""
    cursor.execute("SELECT revision FROM catalog_revision")
    row = cursor.fetchone()
    assert row is not None, "the first migration made the row"
    return int(row[0])


def read_catalog(cursor: Cursor) -> LiveCatalog:
    """The catalog in force, all of one revision."""
    # One statement, so that all three parts come from one snapshot.
    cursor.execute(
        """
        SELECT (SELECT revision FROM catalog_revision),
               (SELECT coalesce(json_agg(json_build_object(
                           'id', item_id, 'name', name, 'rarity', rarity) ORDER BY item_id), '[]')
                FROM item WHERE position IS NOT NULL),
               (SELECT coalesce(json_agg(definition ORDER BY position), '[]')
                FROM banner JOIN odds USING (odds_version) WHERE position IS NOT NULL)
        """
    )
    row = cursor.fetchone()
    assert row is not None, "a SELECT without FROM gives a row"
    revision, items, banners = row
    return LiveCatalog(
        revision=revision,
        items=tuple(Item.model_validate_json(json.dumps(item)) for item in items),
        banners=tuple(Banner.model_validate_json(json.dumps(banner)) for banner in banners),
    )


def lock_catalog(cursor: Cursor) -> None:
    """Blocks other changes of the catalog until this transaction ends."""
    cursor.execute("SELECT revision FROM catalog_revision FOR UPDATE")


def write_catalog(cursor: Cursor, catalog: Catalog) -> None:
    """Puts this catalog in force, and raises the revision. Call `lock_catalog` first."""
    cursor.execute("UPDATE catalog_revision SET revision = revision + 1")
    cursor.execute("UPDATE item SET position = NULL")
    cursor.execute(
        """
        INSERT INTO item (item_id, name, rarity, position)
        SELECT item_id, name, rarity, position
        FROM unnest(%s::int[], %s::text[], %s::text[]) WITH ORDINALITY
            AS given (item_id, name, rarity, position)
        ON CONFLICT (item_id) DO UPDATE SET
            name = excluded.name, rarity = excluded.rarity, position = excluded.position
        """,
        (
            [item.id for item in catalog.items],
            [item.name for item in catalog.items],
            [item.rarity.value for item in catalog.items],
        ),
    )
    cursor.execute("UPDATE banner SET position = NULL")
    cursor.execute(
        """
        WITH given AS (
            SELECT * FROM unnest(%s::text[], %s::text[], %s::jsonb[]) WITH ORDINALITY
                AS given (banner_id, odds_version, definition, position)
        ), introduced AS (
            INSERT INTO odds (odds_version, banner_id, definition)
            SELECT odds_version, banner_id, definition FROM given ON CONFLICT DO NOTHING
        )
        INSERT INTO banner (banner_id, odds_version, position)
        SELECT banner_id, odds_version, position FROM given
        ON CONFLICT (banner_id) DO UPDATE SET
            odds_version = excluded.odds_version, position = excluded.position
        """,
        (
            [banner.id for banner in catalog.banners],
            [banner.odds_version for banner in catalog.banners],
            [banner.model_dump_json() for banner in catalog.banners],
        ),
    )
