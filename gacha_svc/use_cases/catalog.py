"""Puts the catalog in force, and shows it to players."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.catalog import Catalog, LiveCatalog
from gacha_svc.domain.odds import RarityOdds, chances_percent
from gacha_svc.domain.rarities import Rarity
from gacha_svc.storage import catalog as catalog_storage
from gacha_svc.use_cases.catalog_cache import CatalogCache
from gacha_svc.use_cases.disclosed_odds import DisclosedOdds
from mesh.postgres.database import Database


@dataclass(frozen=True, slots=True)
class PublishedBanner:
    """A banner in force, its odds, and the items by id as they are named now."""

    banner: Banner
    odds: tuple[RarityOdds, ...]
    items_by_id: Mapping[int, Item]


class Catalogs:
    """Puts catalogs in force, and shows the one in force."""

    def __init__(
        self, database: Database, cache: CatalogCache, read_catalog: Callable[[], Catalog]
    ) -> None:
        """`read_catalog` blocks, and returns the designers' catalog. It raises InvalidCatalog."""
        self._database = database
        self._cache = cache
        self._read_catalog = read_catalog
        self._odds = DisclosedOdds()

    async def introduce(self) -> LiveCatalog:
        """Puts the file's catalog in force. Idempotent. Raises InvalidCatalog."""
        catalog = await asyncio.to_thread(self._read_catalog)

        def write_if_new(cursor: Cursor) -> None:
            catalog_storage.lock_catalog(cursor)
            live = catalog_storage.read_catalog(cursor)
            items = tuple(sorted(catalog.items, key=lambda item: item.id))
            if (live.items, live.banners) != (items, catalog.banners):
                catalog_storage.write_catalog(cursor, catalog)

        await self._database.transaction(write_if_new)
        return await self._cache.in_force()

    async def items(self) -> tuple[Item, ...]:
        """Every item, ordered by id."""
        return (await self._cache.to_show()).items

    async def chances_percent(self, banner_id: str) -> dict[Rarity, float]:
        """The base chances of a banner, or of the first. Raises BannerNotFound, CatalogEmpty."""
        catalog = await self._cache.to_show()
        banner = catalog.banner(banner_id) if banner_id else catalog.first_banner()
        return chances_percent(banner)

    async def banners(self) -> tuple[PublishedBanner, ...]:
        """Every banner, in the catalog's order."""
        catalog = await self._cache.to_show()
        return tuple([await self._published(catalog, banner) for banner in catalog.banners])

    async def banner(self, banner_id: str) -> PublishedBanner:
        """Raises BannerNotFound and CatalogEmpty."""
        catalog = await self._cache.to_show()
        return await self._published(catalog, catalog.banner(banner_id))

    async def _published(self, catalog: LiveCatalog, banner: Banner) -> PublishedBanner:
        return PublishedBanner(banner, await self._odds.of(banner), catalog.items_by_id)
