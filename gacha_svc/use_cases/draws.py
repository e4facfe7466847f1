"""The gacha's part of a batch of pulls, inside its branch of the transaction.

What a player's next pull of a kind draws follows from the seed of that pity, which only a pull
that takes effect replaces. So a try that fails can be repeated, by any instance and under any
key, and does not draw anew.
"""

from collections.abc import Mapping, Sequence, Set

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.catalog import LiveCatalog
from gacha_svc.domain.draw import draw
from gacha_svc.domain.errors import BannerPullLimit, OddsChanged
from gacha_svc.domain.pull_counts import check_pull_limit
from gacha_svc.domain.pulls import Draw, Pull, PulledItem, pulled
from gacha_svc.domain.randomness import RandomOf
from gacha_svc.storage import pulls as storage
from gacha_svc.storage.pulls import CountKey, Locked, PityKey
from gacha_svc.use_cases.catalog_cache import CatalogCache
from mesh.postgres.database import LostRace
from mesh.postgres.missing_rows import RowsMissing
from mesh.txn.model import BUSY, DUPLICATE, No, Operation, Vote, Yes

DrawOperation = Operation[Draw]
DrawVote = Vote[tuple[PulledItem, ...]]
CATALOG_READS = 4


class Draws:
    """Draws the items of a batch, stores the pulls, and adds the items to inventories."""

    def __init__(self, catalog: CatalogCache, random_of: RandomOf) -> None:
        """`random_of` gives the same bytes for the same seed in every instance."""
        self._catalog = catalog
        self._random_of = random_of

    def apply(self, cursor: Cursor, operations: Sequence[DrawOperation]) -> list[DrawVote]:
        """A vote for each operation, in order.

        A YES vote has the items. Reasons of a NO: DUPLICATE when the pull was done before; BUSY
        when another transaction holds the player's pity, or this batch has another operation of
        the player; ODDS_CHANGED when the banner has changed since its price was read;
        BANNER_PULL_LIMIT. The number of statements does not grow with the batch. Raises
        RowsMissing for a player's first pull of a kind, or from a banner with a limit.
        """
        catalog, locked = self._lock(cursor, operations)
        players: set[str] = set()
        pulls: list[Pull] = []
        draw_counts: dict[CountKey, int] = {}
        votes: list[DrawVote] = []
        for operation in operations:
            refusal = _refusal(catalog, locked, operation, players)
            if refusal is not None:
                votes.append(refusal)
                continue
            request = operation.body
            players.add(request.user_id)
            banner = catalog.banner(request.banner_id)
            key = (request.user_id, banner.kind)
            seed = locked.seeds[key]
            items, pity_after = draw(
                banner,
                catalog.items_by_id,
                locked.pities[key],
                request.count,
                self._random_of(seed),
            )
            if banner.pull_limit:
                counted = (request.user_id, banner.id)
                draw_counts[counted] = locked.draw_counts[counted] + request.count
            pulls.append(Pull(operation.id, request, banner.kind, seed, pity_after, items))
            votes.append(Yes(pulled(items)))
        if pulls:
            storage.record(cursor, pulls, draw_counts)
        return votes

    def screen(self, cursor: Cursor, operations: Sequence[DrawOperation]) -> Mapping[str, No]:
        """The operations that `apply` would refuse now, by id. Locks the free rows in the
        caller's transaction, as `apply` does, and changes nothing. Raises RowsMissing."""
        catalog, locked = self._lock(cursor, operations)
        refusals = {each.id: _refusal(catalog, locked, each, set()) for each in operations}
        return {id: refusal for id, refusal in refusals.items() if refusal is not None}

    def _lock(
        self, cursor: Cursor, operations: Sequence[DrawOperation]
    ) -> tuple[LiveCatalog, Locked]:
        """The catalog in force, and the state of the batch's players under it. Raises LostRace
        when the catalog was changed again each time that it was read."""
        pull_ids = [operation.id for operation in operations]
        catalog = self._catalog.latest
        for _ in range(CATALOG_READS):
            pities, counts = _row_keys(catalog, operations)
            locked = storage.lock(cursor, pull_ids, pities, counts)
            if locked.revision == catalog.revision:
                break
            catalog = self._catalog.refreshed(cursor)
        else:
            raise LostRace("The catalog changes faster than it is read.")
        if locked.is_row_missing:
            raise RowsMissing(lambda cursor: storage.make_rows(cursor, pities, counts))
        return catalog, locked


def _refusal(
    catalog: LiveCatalog, locked: Locked, operation: DrawOperation, players: Set[str]
) -> No | None:
    """Why the operation cannot be drawn, if so; `players` have a draw in this batch already."""
    request = operation.body
    if operation.id in locked.done:
        return No(DUPLICATE)
    banner = _banner_in_force(catalog, request)
    if banner is None:
        return No(OddsChanged.REASON, OddsChanged().message)
    if request.user_id in players or (request.user_id, banner.kind) not in locked.pities:
        return No(BUSY)
    if banner.pull_limit:
        draw_count = locked.draw_counts.get((request.user_id, banner.id))
        if draw_count is None:
            return No(BUSY)
        try:
            check_pull_limit(request.count, banner, draw_count)
        except BannerPullLimit as error:
            return No(error.reason, error.message, error.metadata)
    return None


def _row_keys(
    catalog: LiveCatalog, operations: Sequence[DrawOperation]
) -> tuple[set[PityKey], set[CountKey]]:
    """The pities and the counts of draws that the operations need."""
    wanted = [
        (operation.body.user_id, banner)
        for operation in operations
        if (banner := _banner_in_force(catalog, operation.body)) is not None
    ]
    return (
        {(user_id, banner.kind) for user_id, banner in wanted},
        {(user_id, banner.id) for user_id, banner in wanted if banner.pull_limit},
    )


def _banner_in_force(catalog: LiveCatalog, request: Draw) -> Banner | None:
    """The banner, if its odds, its price and its counts are still those of the request."""
    banner = catalog.banners_by_id.get(request.banner_id)
    if banner is None or catalog.odds_versions[banner.id] != request.odds_version:
        return None
    is_offered = request.count in banner.pull_counts
    is_price = request.cost_gems == request.count * banner.price_gems
    return banner if is_offered and is_price else None
