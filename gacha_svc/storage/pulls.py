"""Pulls in the gacha database, with the pity and inventories that they change.

Every function runs in the caller's transaction, by its cursor.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Item
from gacha_svc.domain.draw import DrawnItem
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.pulls import Draw, Holding, Pull, PullRecord
from gacha_svc.domain.rarities import Rarity
from mesh.postgres.pipelined_cursor import execute_soon
from mesh.postgres.sql_arrays import array_of_plain, array_of_text

MAKE_ROWS_TIMEOUT_MS = 200
PityKey = tuple[str, str]
"""A player's id and a banner's kind."""
CountKey = tuple[str, str]
"""A player's id and the id of a banner with a limit."""


@dataclass(frozen=True, slots=True)
class Locked:
    """The state before a batch: the revision of the catalog in force, the locked pities with
    their seeds, the locked counts of draws, and those of its pulls that were done before."""

    revision: int
    pities: Mapping[PityKey, Pity]
    seeds: Mapping[PityKey, str]
    """What the next draw of each pity follows from, a UUID."""
    draw_counts: Mapping[CountKey, int]
    """A ten-pull is ten draws. Without those of a player of whom another pull is under way."""
    is_row_missing: bool
    """Whether a pity or a count does not exist."""
    done: Set[str]


def lock(
    cursor: Cursor,
    pull_ids: Collection[str],
    pities: Collection[PityKey],
    counts: Collection[CountKey],
) -> Locked:
    """Locks the free rows without waiting, and then reads which of the pulls were done. One
    round trip."""
    cursor.execute(
        "SELECT revision, is_row_missing, done, counts, held_user_ids, held_kinds, seeds,"
        " ultra_rare_counts, super_rare_counts,"
        " ultra_rare_guarantees, super_rare_guarantees, rare_guarantees"
        " FROM lock_draws(%s::uuid[], %s::uuid[], %s::text[], %s::uuid[], %s::text[])",
        [array_of_plain(pull_ids), *_key_columns(pities), *_key_columns(counts)],
    )
    row = cursor.fetchone()
    assert row is not None, "the function gives one row"
    revision, is_row_missing, done, counted, *columns = row
    user_ids, kinds, seeds, *states = (column or () for column in columns)
    keys = tuple(zip(user_ids, kinds, strict=True))
    return Locked(
        revision,
        dict(zip(keys, map(Pity._make, zip(*states, strict=True)), strict=True)),
        dict(zip(keys, seeds, strict=True)),
        {(user_id, banner_id): count for user_id, banner_id, count in counted or ()},
        is_row_missing,
        set(done or ()),
    )


def make_rows(cursor: Cursor, pities: Collection[PityKey], counts: Collection[CountKey]) -> None:
    """Commits the rows that do not exist, for players without pulls. Idempotent. One round trip,
    outside a transaction. Raises LockTimeout.

    The commit is asynchronous: a row matters once a branch that changed it is prepared, which
    makes both durable.
    """
    cursor.execute(
        "BEGIN; SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = %s;"
        " SELECT make_draw_rows(%s::uuid[], %s::text[], %s::uuid[], %s::text[]); COMMIT",
        [MAKE_ROWS_TIMEOUT_MS, *_key_columns(pities), *_key_columns(counts)],
    )


def record(cursor: Cursor, pulls: Sequence[Pull], draw_counts: Mapping[CountKey, int]) -> None:
    """Stores the pulls with their items, their locked pities and counts after them, and adds the
    items to the inventories. Each pity gets a new seed. In a branch it is sent with the next
    statement, without a round trip of its own. A player has one pull at most."""
    execute_soon(
        cursor,
        f"SELECT record_drawn({_RECORD_COLUMNS})",
        [*_pull_columns(pulls), *_item_columns(pulls), *_count_columns(pulls, draw_counts)],
    )


def count_draws(cursor: Cursor, user_id: str, banner_id: str) -> int:
    """The player's draws on a banner with a limit so far, without a lock; 0 before the first."""
    cursor.execute(
        "SELECT count_draws(pull_count) FROM pull_count WHERE user_id = %s AND banner_id = %s",
        (user_id, banner_id),
    )
    row = cursor.fetchone()
    return int(row[0]) if row else 0


def read_pities(cursor: Cursor, user_id: str) -> Mapping[str, Pity]:
    """The player's pity by kind, without a lock. A kind without pulls may be missing."""
    cursor.execute(
        "SELECT kind, since_ultra_rare, since_super_rare, ultra_rare_guaranteed,"
        " super_rare_guaranteed, rare_guaranteed FROM pity WHERE user_id = %s",
        (user_id,),
    )
    return {kind: Pity(*state) for kind, *state in cursor.fetchall()}


def find_settled_pull(cursor: Cursor, user_id: str, pull_id: str) -> PullRecord | None:
    """The player's pull of that id; None if it was not made.

    Raises LockTimeout while a pull of the player is under way, because that may be the one. Call
    it outside a transaction.
    """
    cursor.execute(
        "BEGIN; SELECT FROM pity WHERE user_id = %s FOR KEY SHARE NOWAIT",
        (user_id,),
    )
    # A later snapshot than that of the locks.
    found = find_pulls(cursor, [pull_id])
    cursor.execute("ROLLBACK")
    return found[0] if found else None


def find_pulls(cursor: Cursor, pull_ids: Collection[str]) -> list[PullRecord]:
    """The stored pulls with those ids, newest first."""
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


_RECORD_COLUMNS = ", ".join(["%s"] * 26)
_PITY_COLUMNS = len(Pity._fields)


def _key_columns(keys: Collection[tuple[str, str]]) -> Iterator[str]:
    yield array_of_plain([user_id for user_id, _ in keys])
    yield array_of_text([name for _, name in keys])


def _pull_columns(pulls: Sequence[Pull]) -> Iterator[str]:
    draws = [pull.draw for pull in pulls]
    yield array_of_plain([pull.pull_id for pull in pulls])
    yield array_of_plain([draw.user_id for draw in draws])
    yield array_of_text([pull.kind for pull in pulls])
    yield array_of_text([draw.banner_id for draw in draws])
    yield array_of_plain([draw.count for draw in draws])
    yield array_of_plain([draw.cost_gems for draw in draws])
    yield array_of_text([draw.odds_version for draw in draws])
    yield array_of_plain([pull.seed for pull in pulls])
    pities = [pull.pity_after for pull in pulls]
    yield from map(array_of_plain, zip(*pities, strict=True) if pities else [()] * _PITY_COLUMNS)


def _item_columns(pulls: Sequence[Pull]) -> Iterator[str]:
    drawn_of = [pull.items for pull in pulls]
    drawn = [each for items in drawn_of for each in items]
    items = [each.item for each in drawn]
    yield array_of_plain([number for number, of in enumerate(drawn_of, 1) for _ in of])
    yield array_of_plain([position for of in drawn_of for position in range(1, len(of) + 1)])
    yield array_of_plain([item.id for item in items])
    yield array_of_text([item.name for item in items])
    yield array_of_text([item.rarity for item in items])
    yield array_of_plain([each.featured for each in drawn])
    yield array_of_plain([each.featured_guaranteed for each in drawn])
    yield array_of_plain([each.ten_pull_guaranteed for each in drawn])
    yield array_of_plain([each.pity for each in drawn])


def _count_columns(pulls: Sequence[Pull], draw_counts: Mapping[CountKey, int]) -> Iterator[str]:
    yield from _key_columns(draw_counts)
    yield array_of_plain(draw_counts.values())
    pull_ids = {}
    if draw_counts:
        pull_ids = {(pull.draw.user_id, pull.draw.banner_id): pull.pull_id for pull in pulls}
    yield array_of_plain([pull_ids[key] for key in draw_counts])


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
        "SELECT pull_id::text, item_id, name, rarity, featured, pity, featured_guaranteed,"
        " ten_pull_guaranteed FROM pull_item"
        " WHERE pull_id = ANY(%s::uuid[]) ORDER BY pull_id, position",
        (list(pull_ids),),
    )
    items: dict[str, list[DrawnItem]] = {pull_id: [] for pull_id in pull_ids}
    for pull_id, item_id, name, rarity, *how in cursor.fetchall():
        item = Item(id=item_id, name=name, rarity=Rarity(rarity))
        items[pull_id].append(DrawnItem(item, *how))
    return items
