"""Compares with the payment provider now and then, and follows what no webhook has told.

A refund or dispute that is not followed yet is followed. Every other difference waits for a person.
Every instance runs `run_once`; one of them at a time compares, once in each period, and all of
them report the last result.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from account_svc.domain.clawbacks.differences import Report
from account_svc.domain.payments import PaymentProvider
from account_svc.storage import reconciliations
from account_svc.use_cases.clawbacks.comparison import compare
from account_svc.use_cases.clawbacks.saga import begin_following
from mesh.errors import MeshError
from mesh.postgres.database import Database

CHECK_SECONDS = 30.0
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
        """Compares the last `days` every `period_seconds`. `show` gets the last result; `clock`
        returns Unix seconds."""
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
        report = await compare(self._database, self._provider, days=self._days, now=self._clock())
        counts = report.counts_by_kind()
        await self._database.autocommit(lambda cursor: reconciliations.end(cursor, number, counts))
        level = log.warning if report.differences else log.info
        level("compare_with_provider", **counts, charge_count=report.charge_count)
        occasion = f"reconciliation-{number}"
        await begin_missing(self._database, report, occasion=occasion)


async def begin_missing(database: Database, report: Report, *, occasion: str) -> Sequence[str]:
    """Begins to follow the charges of the report's unfollowed reversals. Returns their ids."""
    charge_ids = sorted(report.charge_ids)
    await database.transaction(lambda cursor: begin_following(cursor, charge_ids, occasion))
    return charge_ids
