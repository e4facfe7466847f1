"""The published odds of banners, computed once for each version.

Only numbers are kept, because names change while the odds stay. At most MAX_KEPT versions are
kept, those asked for last; that is more than a catalog in force has.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.field_types import MAX_BANNERS
from gacha_svc.domain.odds import RarityOdds, disclose
from mesh.postgres.coalesced_reads import CoalescedRead

MAX_KEPT = 2 * MAX_BANNERS
Disclosed = tuple[RarityOdds, ...]


class DisclosedOdds:
    """Use it in one event loop only."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._kept: OrderedDict[str, Disclosed] = OrderedDict()
        self._computations = CoalescedRead(self._compute)

    async def of(self, banner: Banner) -> Disclosed:
        """The banner's odds. Computes in a thread, one banner at a time."""
        kept = self._kept.get(banner.odds_version)
        if kept is not None:
            self._kept.move_to_end(banner.odds_version)
            return kept
        computed = await self._computations.get(banner)
        assert computed is not None, "every key is computed"
        return computed

    async def _compute(self, banners: Collection[Banner]) -> Mapping[Banner, Disclosed]:
        return {banner: await self._computed(banner) for banner in banners}

    async def _computed(self, banner: Banner) -> Disclosed:
        computed = await asyncio.to_thread(disclose, banner)
        self._kept[banner.odds_version] = computed
        while len(self._kept) > self._max_kept:
            self._kept.popitem(last=False)
        return computed
