"""Reads of gifts, which concurrent callers share: one read at a time; the calls that arrive
meanwhile share the next one. What this process has begun need not be read again."""

from collections.abc import Collection, Mapping

from gacha_svc.domain.gifts import Gift, GiftRecord
from gacha_svc.storage import gifts as storage
from mesh.postgres.coalesced_reads import CoalescedRead
from mesh.postgres.database import Database
from mesh.saga.facts import Facts


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


def gift_facts(database: Database) -> Facts[Gift]:
    """Gifts whose sagas this process drives, by id."""
    reads = gift_reads(database)

    async def read(gift_id: str) -> Gift:
        record = await reads.get(gift_id)
        assert record is not None, "one transaction stores the gift and starts its saga"
        return record.gift

    return Facts(read)
