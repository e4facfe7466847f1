"""Reads of gifts, which concurrent callers share: one read at a time; the calls that arrive
meanwhile share the next one."""

from collections.abc import Collection, Mapping

from gacha_svc.domain.gifts import GiftRecord
from gacha_svc.storage import gifts as storage
from mesh.postgres.coalesced_reads import CoalescedRead
from mesh.postgres.database import Database


def gift_reads(database: Database) -> CoalescedRead[str, GiftRecord]:
    """Gifts by id."""

    async def read(gift_ids: Collection[str]) -> Mapping[str, GiftRecord]:
        return await database.autocommit(lambda cursor: storage.find_gifts(cursor, gift_ids))

    return CoalescedRead(read)


def gift_reads_by_intent(database: Database) -> CoalescedRead[str, GiftRecord]:
    """Gifts by intent id."""

    async def read(intent_ids: Collection[str]) -> Mapping[str, GiftRecord]:
        return await database.autocommit(lambda cursor: storage.find_by_intents(cursor, intent_ids))

    return CoalescedRead(read)
