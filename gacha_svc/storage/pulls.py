"""Pulls in the gacha database, and what they change: pity and inventories.

Every function takes a cursor whose transaction is its caller's.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Item
from gacha_svc.domain.draw import DrawnItem
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.pulls import Draw, Holding, Pull, PullRecord
from gacha_svc.domain.rarities import Rarity

PityKey = tuple[str, str]
"""A player's id and a banner's kind."""


def lock_pities(cursor: Cursor, keys: Collection[PityKey]) -> Mapping[PityKey, Pity]:
    """Locks the pities that nobody else holds, without waiting, and gives them."""
    cursor.execute(
        """
        SELECT user_id::text, kind, since_ultra_rare, since_super_rare,
               ultra_rare_guaranteed, super_rare_guaranteed, rare_guaranteed
        FROM pity WHERE (user_id, kind) IN (SELECT * FROM unnest(%s::uuid[], %s::text[]))
        ORDER BY user_id, kind FOR UPDATE SKIP LOCKED
        """,
        _columns(keys, 2),
    )
    return {(user_id, kind): Pity(*state) for user_id, kind, *state in cursor.fetchall()}


def existing_pities(cursor: Cursor, keys: Collection[PityKey]) -> set[PityKey]:
    """Those that are stored, locked or not."""
    cursor.execute(
        "SELECT user_id::text, kind FROM pity"
        " WHERE (user_id, kind) IN (SELECT * FROM unnest(%s::uuid[], %s::text[]))",
        _columns(keys, 2),
    )
    return {(user_id, kind) for user_id, kind in cursor.fetchall()}


def existing_pulls(cursor: Cursor, pull_ids: Collection[str]) -> set[str]:
    """Those of the pulls that were done."""
    cursor.execute(
        "SELECT pull_id::text FROM pull WHERE pull_id = ANY(%s::uuid[])", (list(pull_ids),)
    )
    return {pull_id for (pull_id,) in cursor.fetchall()}


def count_pulls(cursor: Cursor, user_id: str, banner_id: str) -> int:
    """The player's single draws on a banner so far: a ten-pull is ten."""
    cursor.execute(
        "SELECT coalesce(sum(count), 0) FROM pull WHERE user_id = %s AND banner_id = %s",
        (user_id, banner_id),
    )
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def record(cursor: Cursor, pulls: Sequence[Pull], pities: Mapping[PityKey, Pity]) -> None:
    """Stores the pulls with their items, the pities that they leave, and adds the items to
    the inventories, in one round trip."""
    cursor.execute(
        _WRITE_PITIES + _INSERT_PULLS + _INSERT_ITEMS + _ADD_TO_INVENTORIES,
        [*_pity_columns(pities), *_pull_columns(pulls), *_item_columns(pulls), *_gains(pulls)],
    )


def find_pulls(cursor: Cursor, pull_ids: Collection[str]) -> list[PullRecord]:
    """The pulls of those ids that were done, newest first."""
    cursor.execute(f"{_SELECT_PULL} WHERE pull_id = ANY(%s::uuid[])", (list(pull_ids),))
    return _records(cursor)


def list_pulls(cursor: Cursor, user_id: str, before: int | None, limit: int) -> list[PullRecord]:
    """A player's pulls below the number `before`, newest first."""
    cursor.execute(
        f"{_SELECT_PULL} WHERE user_id = %s AND (%s::bigint IS NULL OR number < %s)"
        " ORDER BY number DESC LIMIT %s",
        (user_id, before, before, limit),
    )
    return _records(cursor)


def list_inventory(cursor: Cursor, user_id: str, after: int | None, limit: int) -> list[Holding]:
    """What a player owns above the item id `after`, ordered by item id."""
    cursor.execute(
        """
        SELECT item_id, name, rarity, count FROM inventory JOIN item USING (item_id)
        WHERE user_id = %s AND item_id > %s ORDER BY item_id LIMIT %s
        """,
        (user_id, after or 0, limit),
    )
    return [
        Holding(Item(id=item_id, name=name, rarity=Rarity(rarity)), count)
        for item_id, name, rarity, count in cursor.fetchall()
    ]


_WRITE_PITIES = """
INSERT INTO pity SELECT * FROM unnest(
    %s::uuid[], %s::text[], %s::int[], %s::int[], %s::bool[], %s::bool[], %s::bool[])
ON CONFLICT (user_id, kind) DO UPDATE SET
    since_ultra_rare = excluded.since_ultra_rare,
    since_super_rare = excluded.since_super_rare,
    ultra_rare_guaranteed = excluded.ultra_rare_guaranteed,
    super_rare_guaranteed = excluded.super_rare_guaranteed,
    rare_guaranteed = excluded.rare_guaranteed;
"""

_INSERT_PULLS = """
INSERT INTO pull (pull_id, user_id, banner_id, count, cost, odds_version)
SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::text[]);
"""

_INSERT_ITEMS = """
INSERT INTO pull_item (pull_id, position, item_id, name, rarity, featured, pity)
SELECT * FROM unnest(
    %s::uuid[], %s::int[], %s::int[], %s::text[], %s::text[], %s::bool[], %s::int[]);
"""

_ADD_TO_INVENTORIES = """
INSERT INTO inventory SELECT * FROM unnest(%s::uuid[], %s::int[], %s::bigint[])
ON CONFLICT (user_id, item_id) DO UPDATE SET count = inventory.count + excluded.count;
"""


def _pity_columns(pities: Mapping[PityKey, Pity]) -> list[list[object]]:
    rows = [
        (
            user_id,
            kind,
            pity.since_ultra_rare,
            pity.since_super_rare,
            pity.ultra_rare_guaranteed,
            pity.super_rare_guaranteed,
            pity.rare_guaranteed,
        )
        for (user_id, kind), pity in pities.items()
    ]
    return _columns(rows, 7)


def _pull_columns(pulls: Sequence[Pull]) -> list[list[object]]:
    rows = [
        (
            pull.pull_id,
            pull.draw.user_id,
            pull.draw.banner_id,
            pull.draw.count,
            pull.draw.cost_gems,
            pull.draw.odds_version,
        )
        for pull in pulls
    ]
    return _columns(rows, 6)


def _item_columns(pulls: Sequence[Pull]) -> list[list[object]]:
    rows = [
        (
            pull.pull_id,
            position,
            drawn.item.id,
            drawn.item.name,
            drawn.item.rarity.value,
            drawn.featured,
            drawn.pity,
        )
        for pull in pulls
        for position, drawn in enumerate(pull.items, start=1)
    ]
    return _columns(rows, 7)


def _gains(pulls: Sequence[Pull]) -> list[list[object]]:
    """What each player gained of each item, in one order for all transactions."""
    gained = Counter((pull.draw.user_id, drawn.item.id) for pull in pulls for drawn in pull.items)
    rows = [(user_id, item_id, count) for (user_id, item_id), count in sorted(gained.items())]
    return _columns(rows, 3)


_SELECT_PULL = """
SELECT number, pull_id::text, user_id::text, banner_id, count, cost, odds_version, created_at
FROM pull
"""


def _records(cursor: Cursor) -> list[PullRecord]:
    rows = cursor.fetchall()
    items = _items_of(cursor, [pull_id for _, pull_id, *_ in rows])
    return [
        PullRecord(number, pull_id, Draw(*draw), tuple(items[pull_id]), created_at)
        for number, pull_id, *draw, created_at in rows
    ]


def _items_of(cursor: Cursor, pull_ids: Collection[str]) -> Mapping[str, list[DrawnItem]]:
    cursor.execute(
        "SELECT pull_id::text, item_id, name, rarity, featured, pity FROM pull_item"
        " WHERE pull_id = ANY(%s::uuid[]) ORDER BY pull_id, position",
        (list(pull_ids),),
    )
    items: dict[str, list[DrawnItem]] = {pull_id: [] for pull_id in pull_ids}
    for pull_id, item_id, name, rarity, featured, pity in cursor.fetchall():
        item = Item(id=item_id, name=name, rarity=Rarity(rarity))
        items[pull_id].append(DrawnItem(item, featured, pity))
    return items


def _columns(rows: Collection[tuple[object, ...]], width: int) -> list[list[object]]:
    """Rows as the arrays that unnest takes."""
    return [[row[column] for row in rows] for column in range(width)]
