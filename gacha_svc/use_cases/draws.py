"""The gacha's part of a batch of pulls, inside its branch of the transaction."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.catalog import LiveCatalog
from gacha_svc.domain.draw import draw
from gacha_svc.domain.errors import BannerPullLimit, OddsChanged
from gacha_svc.domain.limits import validate_pull_limit
from gacha_svc.domain.pity import Pity
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
    """What the database says, once the pities that are to be had are locked."""

    catalog: LiveCatalog
    done: Set[str]
    locked: Mapping[PityKey, Pity]
    stored: Set[PityKey]


class Draws:
    """Draws, records and grants."""

    def __init__(self, catalog: CatalogCache, random_bytes: RandomBytes) -> None:
        """`random_bytes` gives that many bytes from a cryptographic source."""
        self._catalog = catalog
        self._random_bytes = random_bytes

    def apply(self, cursor: Cursor, operations: Sequence[DrawOperation]) -> list[DrawVote]:
        """A vote for each operation, in order.

        A YES carries the items. NO: DUPLICATE when the pull was done before; BUSY when
        another transaction holds the player's pity, or another operation of this batch
        is the same player's; ODDS_CHANGED when the banner is no longer what the price
        was taken from; BANNER_PULL_LIMIT. The number of statements does not grow with
        the batch, but for one more a pull from a banner with a limit.
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
            asked = operation.body
            players.add(asked.user_id)
            banner = state.catalog.banner(asked.banner_id)
            key = (asked.user_id, banner.kind)
            items, pities[key] = draw(
                banner,
                state.catalog.items_by_id,
                state.locked.get(key, Pity()),
                asked.count,
                self._random_bytes,
            )
            pulls.append(Pull(operation.id, asked, items))
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
        asked = operation.body
        if operation.id in state.done:
            return No(DUPLICATE)
        banner = _banner_in_force(state.catalog, asked)
        if banner is None:
            return No(OddsChanged.REASON, OddsChanged().message)
        key = (asked.user_id, banner.kind)
        if asked.user_id in players or (key in state.stored and key not in state.locked):
            return No(BUSY)
        if banner.pull_limit:
            pulls_made = storage.count_pulls(cursor, asked.user_id, banner.id)
            try:
                validate_pull_limit(asked.count, banner, pulls_made)
            except BannerPullLimit as error:
                return No(error.reason, error.message, error.metadata)
        return None


def _pity_keys(catalog: LiveCatalog, operations: Sequence[DrawOperation]) -> set[PityKey]:
    return {
        (operation.body.user_id, banner.kind)
        for operation in operations
        if (banner := _banner_in_force(catalog, operation.body)) is not None
    }


def _banner_in_force(catalog: LiveCatalog, asked: Draw) -> Banner | None:
    """The banner, if its odds and its price are still those that were asked for."""
    banner = catalog.banners_by_id.get(asked.banner_id)
    return banner if banner is not None and banner.odds_version == asked.odds_version else None
