"""A shop whose purchases are compared with its provider."""

import asyncio
import time
from collections.abc import Collection

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.purchases import PurchaseRecord
from account_svc.storage.reconciliations import EndedReconciliation
from account_svc.use_cases.clawbacks.comparison import (
    DAY_SECONDS,
    GRACE_SECONDS,
    MAX_LOOKUPS,
    compare,
)
from account_svc.use_cases.clawbacks.reconciliation import Reconciliation
from account_svc.use_cases.clawbacks.saga import clawback_runner
from tests.storage.account.shop import QUICK, Shop
from tests.storage.conftest import as_owner

PERIOD_SECONDS = 3600.0


class Compared(Shop):
    """A shop, and comparisons a while later."""

    shown: EndedReconciliation | None = None
    to_follow: Collection[str] = ()

    async def differences(self, max_lookups: int = MAX_LOOKUPS) -> dict[str, int]:
        now = time.time() + GRACE_SECONDS + 5
        report = await compare(
            self.database, self.provider, seconds=DAY_SECONDS, now=now, max_lookups=max_lookups
        )
        self.to_follow = report.charge_ids
        return {kind: count for kind, count in report.counts_by_kind().items() if count}

    def reconciliation(self) -> Reconciliation:
        return Reconciliation(
            self.database,
            self.provider,
            period_seconds=PERIOD_SECONDS,
            days=1,
            show=lambda last: setattr(self, "shown", last),
            clock=lambda: time.time() + GRACE_SECONDS + 5,
        )

    async def until_owns(self, bought: PurchaseRecord, gems: int) -> None:
        """Runs due sagas, like a running instance, until the player owns that many gems."""
        runner = clawback_runner(self.database, self.provider, limits=QUICK)
        async with asyncio.timeout(30):
            while await self.accounts.balance(bought.purchase.user_id) != gems:
                await runner.run_once()
                await asyncio.sleep(0.02)

    async def rows(self, statement: str) -> list[tuple[object, ...]]:
        def work(cursor: Cursor) -> list[tuple[object, ...]]:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

        return await as_owner(self.database, work)
