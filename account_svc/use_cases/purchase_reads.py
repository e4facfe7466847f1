"""Reads of purchases by id, which concurrent callers share."""

from collections.abc import Collection, Mapping

from account_svc.domain.purchases import PurchaseRecord
from account_svc.storage import purchases as storage
from mesh.postgres.coalesced_reads import CoalescedRead
from mesh.postgres.database import Database


def purchase_reads(database: Database) -> CoalescedRead[str, PurchaseRecord]:
    """One read at a time; the calls that arrive meanwhile share the next one."""

    async def read(purchase_ids: Collection[str]) -> Mapping[str, PurchaseRecord]:
        return await database.autocommit(
            lambda cursor: storage.find_purchases(cursor, purchase_ids)
        )

    return CoalescedRead(read)
