"""The catalog in force, as this process knows it.

No refusal is older than its call: before a caller is refused by the catalog, the process reads
whether there is a newer one. Such reads are shared, and start at most every READ_PAUSE_SECONDS,
so that a flood of calls for banners that do not exist costs the database no more than a hundred
small reads a second.

What is shown is at most SHOWN_AGE_SECONDS old. Who puts a catalog in force waits that long before
its call returns, and as long again as gateways remember answers, so that by then every instance
and every gateway shows it.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.domain.catalog import LiveCatalog
from gacha_svc.storage import catalog as catalog_storage
from mesh.errors import MeshError
from mesh.postgres.coalesced_reads import CoalescedRead
from mesh.postgres.database import Database

READ_PAUSE_SECONDS = 0.01
"""From the start of a shared read to the start of the next."""
SHOWN_AGE_SECONDS = 0.1
SHOW_PATIENCE_SECONDS = 0.5
_CATALOG = "catalog"

T = TypeVar("T")


class CatalogCache:
    """Use it in one event loop only."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._database = database
        self._clock = clock
        self._catalog = LiveCatalog(revision=-1, items=(), banners=(), odds_versions={})
        self._reads = CoalescedRead(self._read_shared)
        self._may_read_at = 0.0
        self._known_at = -math.inf

    @property
    def latest(self) -> LiveCatalog:
        """The catalog as last read; empty, with revision -1, before the first read.

        A pull begins with it: its branch compares the revision with the database's, and a
        refusal is checked by `in_force`.
        """
        return self._catalog

    async def in_force(self) -> LiveCatalog:
        """The catalog in force at the call, or a later one. Shares its read with other calls.
        Raises MeshError if the database does not answer."""
        catalog = await self._reads.get(_CATALOG)
        assert catalog is not None, "the read gives the only key"
        return catalog

    async def to_show(self) -> LiveCatalog:
        """The catalog in force at most SHOWN_AGE_SECONDS ago. While the database does not answer
        within SHOW_PATIENCE_SECONDS, the catalog as last read, if there is one. Use `shown` for
        what it may not have."""
        if not self._catalog.banners:
            return await self.in_force()
        if self._clock() - self._known_at < SHOWN_AGE_SECONDS:
            return self._catalog
        try:
            async with asyncio.timeout(SHOW_PATIENCE_SECONDS):
                return await self.in_force()
        except (MeshError, TimeoutError):
            return self._catalog

    async def shown(self, part: Callable[[LiveCatalog], T]) -> T:
        """What `part` returns for the catalog to show. If it refuses, the catalog in force decides.
        Raises what `part` raises then, and MeshError if the database does not answer."""
        catalog = await self.to_show()
        try:
            return part(catalog)
        except MeshError:
            in_force = await self.in_force()
            if in_force.revision == catalog.revision:
                raise
        return part(in_force)

    def refreshed(self, cursor: Cursor) -> LiveCatalog:
        """The catalog in force in the cursor's snapshot. It becomes `latest`, unless another read
        has found a newer one meanwhile. Each statement of the cursor has its own snapshot."""
        known = self._catalog
        if catalog_storage.find_revision(cursor) == known.revision:
            return known
        found = catalog_storage.read_catalog(cursor)
        # What was known before this read began may also be too new: the database that took over
        # from another one may lack its last catalogs.
        if self._catalog is known or found.revision > self._catalog.revision:
            self._catalog = found
        return found

    def differs_from(self, revision: int) -> bool:
        """Whether `latest` has another revision."""
        return self._catalog.revision != revision

    async def refresh(self) -> None:
        """Reads the catalog in force, so that few pulls begin with an old one. Raises MeshError."""
        await self.in_force()

    async def _read_shared(self, keys: Collection[str]) -> Mapping[str, LiveCatalog]:
        await asyncio.sleep(self._may_read_at - self._clock())
        started_at = self._clock()
        self._may_read_at = started_at + READ_PAUSE_SECONDS
        await self._database.autocommit(self.refreshed)
        self._known_at = started_at
        return dict.fromkeys(keys, self._catalog)
