"""Reads of purchases by id, which concurrent callers share, and what need not be read again."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from account_svc.domain.purchases import Purchase, PurchaseRecord
from account_svc.storage import purchases as storage
from mesh.postgres.coalesced_reads import CoalescedRead
from mesh.postgres.database import Database
from mesh.saga.facts import Facts


@dataclass(frozen=True, slots=True)
class BegunPurchase:
    """What never changes of a stored purchase. `begun_at` is in seconds of a monotonic clock."""

    purchase: Purchase
    begun_at: float


class BegunPurchases:
    """The purchases that this process drives, by id. What it has begun is never read."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reads = purchase_reads(database)
        self._clock = clock
        self._facts = Facts(self._read)

    async def of(self, purchase_id: str) -> Purchase:
        """The purchase, which must be stored."""
        return (await self._facts.of(purchase_id)).purchase

    async def age_seconds(self, purchase_id: str) -> float:
        """How long ago it was begun."""
        return self._clock() - (await self._facts.of(purchase_id)).begun_at

    def keep(self, record: PurchaseRecord) -> None:
        """Remembers a purchase whose transaction has been committed."""
        self._facts.keep(record.purchase.purchase_id, self._begun(record))

    async def _read(self, purchase_id: str) -> BegunPurchase:
        record = await self._reads.get(purchase_id)
        assert record is not None, "one transaction stores the purchase and starts its saga"
        return self._begun(record)

    def _begun(self, record: PurchaseRecord) -> BegunPurchase:
        return BegunPurchase(record.purchase, self._clock() - record.age_seconds)


def purchase_reads(database: Database) -> CoalescedRead[str, PurchaseRecord]:
    """One read at a time; the calls that arrive meanwhile share the next one."""

    async def read(purchase_ids: Collection[str]) -> Mapping[str, PurchaseRecord]:
        return await database.autocommit(
            lambda cursor: storage.find_purchases(cursor, purchase_ids)
        )

    return CoalescedRead(read)
