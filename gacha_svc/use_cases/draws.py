"""The gacha's part of a batch of pulls, inside its branch of the transaction."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.catalog import LiveCatalog
from gacha_svc.domain.draw import draw
from gacha_svc.domain.errors import BannerPullLimit, OddsChanged
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.pull_counts import check_pull_limit
from gacha_svc.domain.pulls import Draw, Pull, PulledItem, pulled
from gacha_svc.domain.randomness import RandomBytes
from gacha_svc.storage import pulls as storage
from gacha_svc.storage.pulls import PityKey
from gacha_svc.use_cases.catalog import CatalogCache
from mesh.txn.model import BUSY, DUPLICATE, No, Operation, Vote, Yes

DrawOperation = Operation[Draw]
DrawVote = Vote[tuple[PulledItem, ...]]


@dataclass(frozen=True, slots=True)
class _State:
    """The database's state once the free pities are locked."""

    catalog: LiveCatalog
    done: Set[str]
    locked: Mapping[PityKey, Pity]
    stored: Set[PityKey]


class Draws:
    """Draws the items of a batch, stores the pulls, and adds the items to inventories."""

    def __init__(self, catalog: CatalogCache, random_bytes: RandomBytes) -> None:
        """`random_bytes` returns that many bytes from a cryptographic source."""
        self._catalog = catalog
        self._random_bytes = random_bytes

    def apply(self, cursor: Cursor, operations: Sequence[DrawOperation]) -> list[DrawVote]:
        """A vote for each operation, in order.

        A YES vote has the items. Reasons of a NO: DUPLICATE when the pull was done before; BUSY
        when another transaction holds the player's pity, or this batch has another operation of
        the player; ODDS_CHANGED when the banner has changed since its price was read;
        BANNER_PULL_LIMIT. The number of statements does not grow with the batch, except for one
        more per pull from a banner with a limit.
        """
        state = self._lock(cursor, operations)
        players: set[str] = set()
        pulls: list[Pull] = []
        pities: dict[PityKey, Pity] = {}
        votes: list[DrawVote] = []
        for operation in operations:
            refusal = self._refusal(cursor, state, operation, players)
            if refusal is not None:
                votes.append(refusal)
                continue
            request = operation.body
            players.add(request.user_id)
            banner = state.catalog.banner(request.banner_id)
            key = (request.user_id, banner.kind)
            items, pities[key] = draw(
                banner,
                state.catalog.items_by_id,
                state.locked.get(key, Pity()),
                request.count,
                self._random_bytes,
            )
            pulls.append(Pull(operation.id, request, items))
            votes.append(Yes(pulled(items)))
        if pulls:
            storage.record(cursor, pulls, pities)
        return votes

    def _lock(self, cursor: Cursor, operations: Sequence[DrawOperation]) -> _State:
        pull_ids = [operation.id for operation in operations]
        catalog = self._catalog.latest
        keys = _pity_keys(catalog, operations)
        found = storage.lock_pities(cursor, pull_ids, keys)
        if found.revision != catalog.revision:
            catalog = self._catalog.refreshed(cursor)
            keys = _pity_keys(catalog, operations)
            found = storage.lock_pities(cursor, pull_ids, keys)
        stored: Set[PityKey] = found.pities.keys()
        if len(found.pities) < len(keys):
            stored = storage.existing_pities(cursor, keys)
        return _State(catalog, found.done, found.pities, stored)

    def _refusal(
        self, cursor: Cursor, state: _State, operation: DrawOperation, players: set[str]
    ) -> No | None:
        request = operation.body
        if operation.id in state.done:
            return No(DUPLICATE)
        banner = _banner_in_force(state.catalog, request)
        if banner is None:
            return No(OddsChanged.REASON, OddsChanged().message)
        key = (request.user_id, banner.kind)
        if request.user_id in players or (key in state.stored and key not in state.locked):
            return No(BUSY)
        if banner.pull_limit:
            pulls_made = storage.count_pulls(cursor, request.user_id, banner.id)
            try:
                check_pull_limit(request.count, banner, pulls_made)
            except BannerPullLimit as error:
                return No(error.reason, error.message, error.metadata)
        return None


def _pity_keys(catalog: LiveCatalog, operations: Sequence[DrawOperation]) -> set[PityKey]:
    return {
        (operation.body.user_id, banner.kind)
        for operation in operations
        if (banner := _banner_in_force(catalog, operation.body)) is not None
    }


def _banner_in_force(catalog: LiveCatalog, request: Draw) -> Banner | None:
    """The banner, if its odds and its price are still those of the request."""
    banner = catalog.banners_by_id.get(request.banner_id)
    return banner if banner is not None and banner.odds_version == request.odds_version else None
