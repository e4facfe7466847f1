"""Compares with the payment provider, and follows refunds and disputes whose webhook was lost.

A refund or dispute that is not followed yet is followed. Every other difference waits for a person.
Every instance runs `run_once`; one of them at a time compares, once in each period, and all of
them report the last result. A comparison begins before the last one that ended, however long ago
that is. So no time is left out.
"""

import asyncio
import time
from collections.abc import Callable

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.payments import PaymentProvider
from account_svc.storage import reconciliations
from account_svc.use_cases.clawbacks.comparison import DAY_SECONDS, compare
from account_svc.use_cases.following import begin_following
from mesh.errors import MeshError
from mesh.postgres.database import Database

CHECK_SECONDS = 30.0
OVERLAP_SECONDS = 3600
"""How much of what the last comparison covered is compared again, at least."""
log = structlog.get_logger()


class Reconciliation:
    """Compares now and then, and follows what was missed."""

    def __init__(
        self,
        database: Database,
        provider: PaymentProvider,
        *,
        period_seconds: float,
        days: int,
        show: Callable[[reconciliations.EndedReconciliation], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Compares at least the last `days` every `period_seconds`. `show` gets the last result;
        `clock` returns Unix seconds."""
        self._database = database
        self._provider = provider
        self._period_seconds = period_seconds
        self._days = days
        self._show = show
        self._clock = clock

    async def keep_comparing(self) -> None:
        """Runs `run_once` every CHECK_SECONDS, until cancelled. Errors are logged."""
        while True:
            try:
                await self.run_once()
            except MeshError as error:
                log.warning("fail_comparison", reason=error.reason)
            except Exception as error:
                log.error("fail_comparison", exc_info=error)
            await asyncio.sleep(CHECK_SECONDS)

    async def run_once(self) -> None:
        """Compares if it is time to, and shows the last result. Raises ProviderAway; the
        comparison then counts as abandoned, and is made again an hour later."""
        number = await self._database.transaction(
            lambda cursor: reconciliations.begin(cursor, self._period_seconds)
        )
        if number is not None:
            await self._compare(number)
        last = await self._database.autocommit(reconciliations.find_last)
        if last is not None:
            self._show(last)

    async def _compare(self, number: int) -> None:
        """Begins to follow what was missed in the transaction in which the comparison ends."""
        since_last = await self._database.autocommit(reconciliations.seconds_since_last)
        seconds = max(self._days * DAY_SECONDS, int(since_last)) + OVERLAP_SECONDS
        report = await compare(self._database, self._provider, seconds=seconds, now=self._clock())
        counts = report.counts_by_kind()

        def end(cursor: Cursor) -> None:
            begin_following(cursor, report.charge_ids, f"reconciliation-{number}")
            reconciliations.end(cursor, number, counts)

        await self._database.transaction(end)
        level = log.warning if report.differences else log.info
        level("compare_with_provider", **counts, charge_count=report.charge_count)
