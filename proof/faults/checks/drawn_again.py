"""Draws stored pulls again, from their seeds: each must give the items that its player got.

A pull follows from the seed of its pity, the odds, and the pity after the player's pulls before it.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby

import orjson

from gacha_svc.domain.banners import Item
from gacha_svc.domain.draw import draw
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.randomness import SECRET_PURPOSE, RandomOf, seeded
from gacha_svc.domain.terms import Terms
from mesh.identity.keys import load_private_key
from mesh.identity.service_identity import ServiceIdentity
from proof.invariants import Row, query
from proof.stack import Mesh

MAX_PLAYERS = 100
"""Chosen at random for each check, so that a check takes about a second."""

PULLS = f"""
    WITH players AS (
        SELECT user_id FROM (SELECT DISTINCT user_id FROM pull) AS pulling
        ORDER BY random() LIMIT {MAX_PLAYERS}
    )
    SELECT user_id::text, definition ->> 'kind', pull_id::text, seed::text, count, odds_version,
           ARRAY(SELECT item_id FROM pull_item WHERE pull_item.pull_id = pull.pull_id
                 ORDER BY position)
    FROM pull JOIN players USING (user_id) JOIN odds USING (odds_version)
    ORDER BY user_id, 2, number
"""
_ODDS = "SELECT odds_version, definition FROM odds"
_ITEMS = "SELECT json_build_object('id', item_id, 'name', name, 'rarity', rarity)::text FROM item"


def pulls_unlike_their_seeds(mesh: Mesh) -> Iterator[str]:
    """The pulls of some players that gave other items than their seeds."""
    key = load_private_key(mesh.layout.service_key("gacha_svc").read_bytes())
    secret = ServiceIdentity(key, "gacha_svc").secret(SECRET_PURPOSE)
    items = [Item.model_validate_json(str(item)) for (item,) in query(mesh, "gacha", _ITEMS)]
    terms = {
        str(version): Terms.model_validate_json(orjson.dumps(definition))
        for version, definition in query(mesh, "gacha", _ODDS)
    }
    yield from unlike(
        query(mesh, "gacha", PULLS),
        terms,
        {item.id: item for item in items},
        partial(seeded, secret),
    )


def unlike(
    pulls: list[Row],
    terms: Mapping[str, Terms],
    items_by_id: Mapping[int, Item],
    random_of: RandomOf,
) -> Iterator[str]:
    """The pulls, as rows of player, kind, pull, seed, count, version of the odds and items, that
    gave other items than their seeds. All pulls of a player and kind, in order."""
    for _, of_pity in groupby(pulls, key=lambda pull: pull[:2]):
        pity = Pity()
        for _, _, pull_id, seed, count, version, item_ids in of_pity:
            source = random_of(str(seed))
            again, pity = draw(terms[str(version)], items_by_id, pity, int(str(count)), source)
            if (due := [each.item.id for each in again]) != item_ids:
                yield f"{pull_id} has the items {item_ids}; its seed gives {due}"
                break  # The pity after it is not known.
