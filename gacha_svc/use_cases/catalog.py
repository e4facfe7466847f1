"""Puts the catalog in force, and shows it to players."""

import asyncio
from collections.abc import Callable

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.catalog import Catalog, LiveCatalog
from gacha_svc.domain.odds import RarityOdds, chances_percent, disclose
from gacha_svc.domain.rarities import Rarity
from gacha_svc.storage import catalog as catalog_storage
from gacha_svc.use_cases.catalog_cache import CatalogCache
from mesh.postgres.database import Database


class Catalogs:
    """Puts catalogs in force, and shows the one in force."""

    def __init__(
        self, database: Database, cache: CatalogCache, read_catalog: Callable[[], Catalog]
    ) -> None:
        """`read_catalog` blocks, and returns the designers' catalog. It raises InvalidCatalog."""
        self._database = database
        self._cache = cache
        self._read_catalog = read_catalog
        self._disclosed: dict[str, tuple[RarityOdds, ...]] = {}

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

    async def banners(self) -> tuple[Banner, ...]:
        """Every banner, in the catalog's order."""
        return (await self._cache.to_show()).banners

    async def banner(self, banner_id: str) -> Banner:
        """Raises BannerNotFound and CatalogEmpty."""
        return (await self._cache.to_show()).banner(banner_id)

    async def odds(self, banner: Banner) -> tuple[RarityOdds, ...]:
        """The banner's published odds; computed once for each version."""
        disclosed = self._disclosed.get(banner.odds_version)
        if disclosed is None:
            catalog = await self._cache.to_show()
            disclosed = await asyncio.to_thread(disclose, banner, catalog.items_by_id)
            self._disclosed[banner.odds_version] = disclosed
        return disclosed
