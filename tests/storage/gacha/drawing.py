"""Draws on a real PostgreSQL, prepared and committed as a coordinator does."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.catalog import Catalog
from gacha_svc.domain.pulls import Draw, PulledItem
from gacha_svc.domain.randomness import RandomBytes, RandomOf
from gacha_svc.use_cases.catalog_cache import CatalogCache
from gacha_svc.use_cases.draws import Draws
from mesh.postgres.database import Database
from mesh.txn.model import Operation, Vote, Yes, new_gid
from mesh.txn.participant import Participant

DrawVotes = Sequence[Vote[tuple[PulledItem, ...]]]


def operation(banner: Banner, user_id: str = "", count: int = 1) -> Operation[Draw]:
    """A draw of a new pull, by a new player if none is given."""
    cost_gems = count * banner.price_gems
    asked = Draw(user_id or str(uuid4()), banner.id, count, cost_gems, banner.odds_version)
    return Operation(str(uuid4()), asked)


def changed(catalog: Catalog, **fields: object) -> Catalog:
    """The catalog with another first banner."""
    first, *others = catalog.banners
    return Catalog.model_validate(
        {
            "items": [item.model_dump() for item in catalog.items],
            "banners": [
                first.model_dump() | fields,
                *(banner.model_dump() for banner in others),
            ],
        }
    )


@dataclass(frozen=True, slots=True)
class Instance:
    """One gacha instance's participant, with a catalog cache of its own."""

    participant: Participant[Draw, tuple[PulledItem, ...]]

    @classmethod
    def of(
        cls, database: Database, random_bytes: RandomBytes, cache: CatalogCache | None = None
    ) -> "Instance":
        """Draws from this source, whatever the seeds are."""
        return cls.seeded(database, lambda seed: random_bytes, cache)

    @classmethod
    def seeded(
        cls, database: Database, random_of: RandomOf, cache: CatalogCache | None = None
    ) -> "Instance":
        draws = Draws(cache or CatalogCache(database), random_of)
        return cls(Participant(database, "gacha", draws.apply))

    async def prepare(self, *operations: Operation[Draw]) -> tuple[str, DrawVotes]:
        """The gid, and a vote for each operation; the branch is left prepared."""
        gid = new_gid("test", time.time())
        return gid, await self.participant.prepare(gid, time.time() + 5.0, operations)

    async def commit(self, gid: str) -> None:
        await self.participant.commit(gid)

    async def apply(self, *operations: Operation[Draw]) -> DrawVotes:
        """Prepares, and commits if any vote is Yes."""
        gid, votes = await self.prepare(*operations)
        if any(isinstance(vote, Yes) for vote in votes):
            await self.commit(gid)
        return votes
