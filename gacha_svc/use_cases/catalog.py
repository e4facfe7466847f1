"""Puts the catalog in force, and shows it to players."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.catalog import Catalog, LiveCatalog, OddsPeriod
from gacha_svc.domain.errors import BannerNotFound, OddsNotFound
from gacha_svc.domain.odds.published import Disclosure, chances_percent
from gacha_svc.domain.rarities import Rarity
from gacha_svc.domain.terms import Terms
from gacha_svc.storage import catalog as catalog_storage
from gacha_svc.use_cases.catalog_cache import SHOWN_AGE_SECONDS, CatalogCache
from gacha_svc.use_cases.disclosed_odds import DisclosedOdds
from mesh.contract.pages import checked_page
from mesh.postgres.database import Database

TIMER_SECONDS = 0.002
"""A timer of the event loop may fire a millisecond early."""
HISTORY_PAGE_SIZE, MAX_HISTORY_PAGE_SIZE = 20, 100


@dataclass(frozen=True, slots=True)
class PublishedOdds:
    """Odds with their terms and name, and the items by id as they are named now."""

    odds_version: str
    terms: Terms
    disclosure: Disclosure
    items_by_id: Mapping[int, Item]


@dataclass(frozen=True, slots=True)
class PublishedBanner:
    """A banner in force, and its odds."""

    banner: Banner
    odds: PublishedOdds


class Catalogs:
    """Puts catalogs in force, and shows the one in force."""

    def __init__(
        self,
        database: Database,
        cache: CatalogCache,
        read_catalog: Callable[[], Catalog],
        *,
        memory_seconds: float = 0.0,
    ) -> None:
        """`read_catalog` blocks, and returns the designers' catalog. It raises InvalidCatalog.
        `memory_seconds` is for how long callers show what they have read here."""
        self._database = database
        self._cache = cache
        self._read_catalog = read_catalog
        self._shown_seconds = SHOWN_AGE_SECONDS + memory_seconds + TIMER_SECONDS
        self._odds = DisclosedOdds()

    async def introduce(self) -> LiveCatalog:
        """Puts the file's catalog in force, and returns when every instance and all that remember
        its answers show it. Idempotent. Raises InvalidCatalog."""
        catalog = await asyncio.to_thread(self._read_catalog)

        def write_if_new(cursor: Cursor) -> None:
            catalog_storage.lock_catalog(cursor)
            live = catalog_storage.read_catalog(cursor)
            if not live.holds(catalog):
                catalog_storage.write_catalog(cursor, catalog)

        await self._database.transaction(write_if_new)
        # Also for a repeat: the call before may have ended between its commit and here.
        await asyncio.sleep(self._shown_seconds)
        return await self._cache.in_force()

    async def items(self) -> tuple[Item, ...]:
        """Every item, ordered by id."""
        return (await self._cache.to_show()).items

    async def chances_percent(self, banner_id: str) -> dict[Rarity, float]:
        """The base chances of a banner, or of the first. Raises BannerNotFound, CatalogEmpty."""
        return chances_percent(
            await self._cache.shown(
                lambda catalog: catalog.banner(banner_id) if banner_id else catalog.first_banner()
            )
        )

    async def banners(self) -> tuple[PublishedBanner, ...]:
        """Every banner, in the catalog's order."""
        catalog = await self._cache.to_show()
        return tuple([await self._published(catalog, banner) for banner in catalog.banners])

    async def banner(self, banner_id: str) -> PublishedBanner:
        """Raises BannerNotFound and CatalogEmpty."""
        catalog, banner = await self._cache.shown(
            lambda catalog: (catalog, catalog.banner(banner_id))
        )
        return await self._published(catalog, banner)

    async def odds(self, odds_version: str) -> PublishedOdds:
        """A version of the odds that was ever in force. Raises OddsNotFound."""
        found = await self._database.autocommit(
            lambda cursor: catalog_storage.find_odds(cursor, odds_version)
        )
        if found is None:
            raise OddsNotFound(odds_version)
        terms, items_by_id = found
        return PublishedOdds(odds_version, terms, await self._odds.of(terms), items_by_id)

    async def history(
        self, banner_id: str, page_size: int, page_token: str
    ) -> tuple[list[OddsPeriod], str]:
        """A page of the banner's odds, newest first, and the token of the next page. Raises
        BannerNotFound for a banner that was never in force."""
        size, before = checked_page(
            page_size, page_token, default=HISTORY_PAGE_SIZE, maximum=MAX_HISTORY_PAGE_SIZE
        )
        periods = await self._database.autocommit(
            lambda cursor: catalog_storage.list_periods(cursor, banner_id, before, size + 1)
        )
        if not periods and before is None:
            existing = (await self._cache.in_force()).banners_by_id
            raise BannerNotFound(banner_id, tuple(existing))
        page = periods[:size]
        return page, str(page[-1].revision) if len(periods) > size else ""

    async def _published(self, catalog: LiveCatalog, banner: Banner) -> PublishedBanner:
        odds = await self._odds.of(banner.terms)
        version = catalog.odds_versions[banner.id]
        return PublishedBanner(banner, PublishedOdds(version, banner, odds, catalog.items_by_id))
