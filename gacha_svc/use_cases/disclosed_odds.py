"""The published odds, computed once for each version.

Only numbers are kept, because names change while the odds stay. At most MAX_KEPT versions are
kept, those asked for last; that is more than a catalog in force has.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping

from gacha_svc.domain.field_types import MAX_BANNERS
from gacha_svc.domain.odds.published import Disclosure, disclose
from gacha_svc.domain.terms import Terms
from mesh.postgres.coalesced_reads import CoalescedRead

MAX_KEPT = 2 * MAX_BANNERS


class DisclosedOdds:
    """Use it in one event loop only."""

    def __init__(self, max_kept: int = MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._kept: OrderedDict[str, Disclosure] = OrderedDict()
        self._computations = CoalescedRead(self._compute)

    async def of(self, terms: Terms) -> Disclosure:
        """The odds of these terms. Computes in a thread, one after another."""
        kept = self._kept.get(terms.odds_version)
        if kept is not None:
            self._kept.move_to_end(terms.odds_version)
            return kept
        computed = await self._computations.get(terms)
        assert computed is not None, "every key is computed"
        return computed

    async def _compute(self, wanted: Collection[Terms]) -> Mapping[Terms, Disclosure]:
        return {terms: await self._computed(terms) for terms in wanted}

    async def _computed(self, terms: Terms) -> Disclosure:
        computed = await asyncio.to_thread(disclose, terms)
        self._kept[terms.odds_version] = computed
        while len(self._kept) > self._max_kept:
            self._kept.popitem(last=False)
        return computed
