"""Compares the payment provider, the purchases and the ledger. It only reads.

Both sides are read as they are while it runs. What is younger than GRACE_SECONDS is left out, since
it may still be on its way; the periods are shifted by that much. Refunds and disputes of long
before are compared again, because their money may come back late.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence, Set
from typing import TypeVar
from uuid import uuid4

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.clawbacks.differences import (
    MAX_DIFFERENCES,
    Difference,
    DifferenceKind,
    Report,
    compare_charge,
    compare_reversal,
    uncharged,
)
from account_svc.domain.clawbacks.gems import Clawback
from account_svc.domain.payments import BookedCharge, Charge, PaymentProvider, Period
from account_svc.domain.purchases import PurchaseRecord, PurchaseState, purchase_id_of
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState, ReversedCharge
from account_svc.storage import clawbacks, purchases, reconciliations
from account_svc.storage.reconciliations import BegunPurchase
from mesh.deadlines import Deadline
from mesh.postgres.database import Database

GRACE_SECONDS = 300
DAY_SECONDS = 86_400
EARLIER_DAYS = 400
"""How many days before the period reversals are compared again: a refund that succeeded may fail
within weeks, a lost dispute be won after months, and an inquiry become a dispute. For longer than
the networks of cards let a dispute go on."""
CHUNK_SIZE = 200
MAX_LOOKUPS = 1000
"""The most single questions to the provider for the purchases of a day, for its reversals, and for
all pending ones. What is left over is reported as uncompared."""
FIRST_ID = "00000000-0000-0000-0000-000000000000"
CALL_SECONDS = 20.0
T = TypeVar("T")


async def compare(
    database: Database,
    provider: PaymentProvider,
    *,
    seconds: int,
    now: float,
    grace_seconds: int = GRACE_SECONDS,
    max_lookups: int = MAX_LOOKUPS,
) -> Report:
    """Compares a period of `seconds`, which ends `grace_seconds` before `now` (Unix seconds), and
    returns the report. Raises ProviderAway, DatabaseAway."""
    until = int(now) - grace_seconds
    report = Report(Period(until - seconds, until))
    comparison = Comparison(database, provider, report, max_lookups)
    for since in range(report.period.since, until, DAY_SECONDS):
        await comparison.compare_period(Period(since, min(since + DAY_SECONDS, until)))
    since = report.period.since
    await comparison.compare_earlier(Period(since - EARLIER_DAYS * DAY_SECONDS, since))
    await comparison.compare_pending()
    await comparison.compare_parked()
    return report


class Comparison:
    """Adds what it finds to one report. It changes nothing."""

    def __init__(
        self, database: Database, provider: PaymentProvider, report: Report, max_lookups: int
    ) -> None:
        self._database = database
        self._provider = provider
        self._report = report
        self._max_lookups = max_lookups
        self._lookups_left = 0
        self._reversed: dict[str, ReversedCharge | None] = {}

    async def compare_period(self, period: Period) -> None:
        """Compares what was begun in the period. Raises ProviderAway, DatabaseAway."""
        self._lookups_left = self._max_lookups
        seen_ids: set[str] = set()
        async for charges in _chunks(self._provider.list_charges(period)):
            seen_ids |= await self._compare_charges(charges)
        await self._compare_credits(period, seen_ids)
        self._lookups_left = self._max_lookups
        async for reversals in _chunks(self._provider.list_reversals(period)):
            await self._compare_reversals(reversals)
        found = await self._read(
            lambda cursor: reconciliations.ledger_differences(cursor, period, MAX_DIFFERENCES)
        )
        self._report.add_listed(DifferenceKind.LEDGER, *found)

    async def compare_parked(self) -> None:
        """Adds the purchases that wait for a person, whenever they were begun. Raises
        DatabaseAway."""
        found = await self._read(
            lambda cursor: reconciliations.parked_purchases(cursor, MAX_DIFFERENCES)
        )
        self._report.add_listed(DifferenceKind.PARKED_PURCHASE, *found)

    async def _compare_charges(self, charges: Sequence[BookedCharge]) -> set[str]:
        """Returns the ids of the purchases that the charges name. A purchase that was refused may
        have been refunded since its charge was listed, so that charge is looked up again."""
        ids = {each.key: purchase_id_of(each.key) for each in charges}
        records = await self._records([each for each in ids.values() if each is not None])
        for charge in charges:
            purchase_id = ids[charge.key]
            record = records.get(purchase_id) if purchase_id is not None else None
            self._report.charge_count += 1
            different = compare_charge(charge, record)
            if record is not None and different is not None and record.state.is_refused:
                different = await self._look_up_refused(record)
            self._report.add(different)
        return {each for each in ids.values() if each is not None}

    async def _look_up_refused(self, record: PurchaseRecord) -> Difference | None:
        purchase_id = record.purchase.purchase_id
        if not self._may_look_up():
            return _uncompared(purchase_id)
        found = await self._provider.find_charge(purchase_id, Deadline.after(CALL_SECONDS))
        return _looked_up(record, found)

    async def _compare_credits(self, period: Period, seen_ids: Set[str]) -> None:
        """Credited purchases whose charge was not in the list are looked up one by one: it may
        have been made before or after the period."""
        last = None
        self._lookups_left = self._max_lookups
        while chunk := await self._credited(period, last):
            last = chunk[-1]
            self._report.purchase_count += len(chunk)
            missing = [each.purchase_id for each in chunk if each.purchase_id not in seen_ids]
            records = await self._records(missing)
            for purchase_id in missing:
                if not self._may_look_up():
                    self._report.add(_uncompared(purchase_id))
                    continue
                deadline = Deadline.after(CALL_SECONDS)
                found = await self._provider.find_charge(purchase_id, deadline)
                self._report.add(_looked_up(records[purchase_id], found))

    async def compare_earlier(self, period: Period) -> None:
        """Compares the reversals that were made in an earlier period, because they may have changed
        since. A refund that is not known is left alone unless it has failed: it moved money when it
        was made, and so was looked up then. A dispute may have been an inquiry, which moves none.
        Raises ProviderAway, DatabaseAway."""
        self._lookups_left = self._max_lookups
        async for reversals in _chunks(self._provider.list_reversals(period)):
            await self._compare_reversals(reversals, new=(ReversalKind.DISPUTE,))

    async def _compare_reversals(
        self, reversals: Sequence[Reversal], new: Collection[ReversalKind] = tuple(ReversalKind)
    ) -> None:
        """`new` are the kinds of which one that is not known is looked up."""
        stored = await self._read(lambda cursor: clawbacks.find_clawbacks(cursor, reversals))
        known = {(each.kind, each.reversal_id): each for each in stored}
        for reversal in reversals:
            self._report.reversal_count += 1
            clawback = known.get((reversal.kind, reversal.reversal_id))
            if clawback is not None:
                self._report.add(compare_reversal(reversal, clawback))
            elif reversal.kind in new or reversal.state is ReversalState.UNDONE:
                self._report.add(await self._compare_unknown(reversal))

    async def _compare_unknown(self, reversal: Reversal) -> Difference | None:
        """A reversal that is not stored. If it has failed, its purchase may have ended as refunded,
        and its charge is looked up."""
        if not self._may_find(reversal.charge_id):
            return _uncompared(reversal.reversal_id)
        record = await self._record_of(reversal.charge_id)
        if record is not None and record.state is PurchaseState.CREDITED:
            return compare_reversal(reversal, None)
        is_failed = reversal.state is ReversalState.UNDONE
        if record is not None and record.state.is_refused and is_failed:
            return await self._look_up_refused(record)
        return None

    async def compare_pending(self) -> None:
        """Compares the reversals that are stored as pending, whenever they were made, because
        they may change long after that. Each comparison starts at another one, so that all of
        them have their turn when they are too many for one. Raises ProviderAway, DatabaseAway."""
        self._lookups_left = self._max_lookups
        start = str(uuid4())
        async for clawback in self._pending(start):
            if self._may_find(clawback.charge_id):
                await self._compare_pending(clawback)
            else:
                self._report.add(_uncompared(clawback.reversal_id))

    async def _pending(self, start: str) -> AsyncIterator[Clawback]:
        """All of them, from the one after the id `start` on, and round."""
        for after, is_second in ((start, False), (FIRST_ID, True)):
            last = after
            while chunk := await self._pending_chunk(last):
                last = chunk[-1].clawback_id
                for each in chunk:
                    if is_second and each.clawback_id > start:
                        return
                    yield each

    async def _pending_chunk(self, after: str) -> Sequence[Clawback]:
        return await self._read(
            lambda cursor: clawbacks.list_pending_clawbacks(
                cursor, self._provider.name, after, CHUNK_SIZE
            )
        )

    async def _compare_pending(self, clawback: Clawback) -> None:
        charge = await self._reversed_charge(clawback.charge_id)
        found = [
            each
            for each in (charge.reversals if charge is not None else ())
            if (each.kind, each.reversal_id) == (clawback.kind, clawback.reversal_id)
        ]
        if found:
            self._report.add(compare_reversal(found[0], clawback))
        else:
            detail = f"{clawback.kind} of charge {clawback.charge_id}"
            self._report.add(
                Difference(DifferenceKind.UNKNOWN_REVERSAL, clawback.reversal_id, detail)
            )

    def _may_look_up(self) -> bool:
        """Whether one more question may be asked; it then counts."""
        self._lookups_left -= 1
        return self._lookups_left >= 0

    def _may_find(self, charge_id: str) -> bool:
        """The same, for a charge that may be known already."""
        return charge_id in self._reversed or self._may_look_up()

    async def _record_of(self, charge_id: str) -> PurchaseRecord | None:
        """The purchase of the charge, if it is ours."""
        charge = await self._reversed_charge(charge_id)
        purchase_id = purchase_id_of(charge.key) if charge is not None else None
        if purchase_id is None:
            return None
        return (await self._records([purchase_id])).get(purchase_id)

    async def _reversed_charge(self, charge_id: str) -> ReversedCharge | None:
        if charge_id not in self._reversed:
            self._reversed[charge_id] = await self._provider.find_reversals(
                charge_id, Deadline.after(CALL_SECONDS)
            )
        return self._reversed[charge_id]

    async def _credited(
        self, period: Period, after: BegunPurchase | None
    ) -> Sequence[BegunPurchase]:
        return await self._read(
            lambda cursor: reconciliations.list_credited(
                cursor, period, self._provider.name, after, CHUNK_SIZE
            )
        )

    async def _records(self, purchase_ids: Sequence[str]) -> dict[str, PurchaseRecord]:
        return dict(await self._read(lambda cursor: purchases.find_purchases(cursor, purchase_ids)))

    async def _read(self, work: Callable[[Cursor], T]) -> T:
        return await self._database.autocommit(work)


def _uncompared(subject_id: str) -> Difference:
    detail = "not looked up: too many others were"
    return Difference(DifferenceKind.UNCOMPARED, subject_id, detail)


def _looked_up(record: PurchaseRecord, found: Charge | None) -> Difference | None:
    if found is None:
        return uncharged(record, None)
    purchase = record.purchase
    charge = BookedCharge(
        found.key, found.charge_id, found.state, purchase.price_minor, purchase.currency
    )
    return compare_charge(charge, record)


async def _chunks(items: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    chunk: list[T] = []
    async for each in items:
        chunk.append(each)
        if len(chunk) == CHUNK_SIZE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
