"""The catalog in the gacha database: the one in force, every version of the odds, and which was
in force when.

Every change raises the revision in the same transaction. So a reader compares revisions to know
whether its catalog is still in force.
"""

import json
from collections.abc import Mapping, Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.catalog import Catalog, LiveCatalog, OddsPeriod
from gacha_svc.domain.rarities import Rarity
from gacha_svc.domain.terms import Terms
from mesh.postgres.pulse import Question

REVISION_QUESTION = Question("(SELECT revision FROM catalog_revision)")


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
               (SELECT coalesce(json_agg(json_build_array(odds_version, definition || offer)
                                         ORDER BY position), '[]')
                FROM banner JOIN odds USING (odds_version) WHERE position IS NOT NULL)
        """
    )
    row = cursor.fetchone()
    assert row is not None, "a SELECT without FROM gives a row"
    revision, items, found = row
    banners = [Banner.model_validate_json(json.dumps(banner)) for _, banner in found]
    versions = [odds_version for odds_version, _ in found]
    return LiveCatalog(
        revision=revision,
        items=tuple(Item.model_validate_json(json.dumps(item)) for item in items),
        banners=tuple(banners),
        odds_versions={banner.id: name for banner, name in zip(banners, versions, strict=True)},
    )


def lock_catalog(cursor: Cursor) -> None:
    """Blocks other changes of the catalog until this transaction ends."""
    cursor.execute("SELECT revision FROM catalog_revision FOR UPDATE")


def write_catalog(cursor: Cursor, catalog: Catalog) -> None:
    """Puts this catalog in force, raises the revision, and adds to the history of each banner
    that it changes. Call `lock_catalog` first."""
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
    _write_banners(cursor, catalog.banners)
    cursor.execute("SELECT record_banners(revision) FROM catalog_revision")


def _write_banners(cursor: Cursor, banners: Sequence[Banner]) -> None:
    cursor.execute("UPDATE banner SET position = NULL")
    cursor.execute(
        """
        WITH given AS (
            SELECT *
            FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::jsonb[]) WITH ORDINALITY
                AS given (banner_id, odds_version, definition, offer, position)
        ), introduced AS (
            INSERT INTO odds (odds_version, definition)
            SELECT odds_version, definition FROM given ON CONFLICT DO NOTHING
        )
        INSERT INTO banner (banner_id, odds_version, offer, position)
        SELECT banner_id, odds_version, offer, position FROM given
        ON CONFLICT (banner_id) DO UPDATE SET
            odds_version = excluded.odds_version, offer = excluded.offer,
            position = excluded.position
        """,
        (
            [banner.id for banner in banners],
            [banner.odds_version for banner in banners],
            [banner.terms.model_dump_json() for banner in banners],
            [json.dumps(banner.offer) for banner in banners],
        ),
    )


def find_odds(cursor: Cursor, odds_version: str) -> tuple[Terms, Mapping[int, Item]] | None:
    """The terms of a version that was ever in force, with their items as they are named now."""
    cursor.execute("SELECT definition FROM odds WHERE odds_version = %s", (odds_version,))
    row = cursor.fetchone()
    if row is None:
        return None
    terms = Terms.model_validate_json(json.dumps(row[0]))
    cursor.execute(
        "SELECT item_id, name, rarity FROM item WHERE item_id = ANY(%s::int[])",
        ([item_id for rule in terms.rules for item_id in rule.all_ids],),
    )
    items = [
        Item(id=item_id, name=name, rarity=Rarity(rarity))
        for item_id, name, rarity in cursor.fetchall()
    ]
    return terms, {item.id: item for item in items}


def list_periods(
    cursor: Cursor, banner_id: str, before: int | None, limit: int
) -> list[OddsPeriod]:
    """When which odds were in force on a banner, newest first, from below the revision `before`.

    A change of the offer alone ends no period. The time between is a banner's absence.
    """
    cursor.execute(
        """
        SELECT revision, odds_version, since, until FROM (
            SELECT *, lead(since) OVER (ORDER BY revision) AS until FROM (
                SELECT revision, odds_version, since,
                       lag(odds_version) OVER (ORDER BY revision) AS version_before
                FROM banner_history WHERE banner_id = %s
            ) AS entry WHERE odds_version IS DISTINCT FROM version_before
        ) AS period
        WHERE odds_version IS NOT NULL AND (%s::bigint IS NULL OR revision < %s)
        ORDER BY revision DESC LIMIT %s
        """,
        (banner_id, before, before, limit),
    )
    return [OddsPeriod(*row) for row in cursor.fetchall()]
