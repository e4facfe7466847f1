"""The saga that follows the refunds and disputes of a charge.

    FOLLOWING   reads them from the provider; takes back or returns the gems of what has changed
      -> FOLLOWED    the purchase has followed all of them, or is not ours

Each event about a reversal begins one saga, and so does the comparison with the provider
(`account_svc.use_cases.clawbacks.reconciliation`) for a reversal whose event was lost, and a
purchase that is credited late (`account_svc.use_cases.purchasing.saga`). Any number
of them may run for one charge, in any order: each reads the present state from the provider, the
player's wallet is locked while it is applied, and a reversal never moves back. A purchase that is
still under way is waited for, since only one that was credited has gems to take back. A refund that
failed after its purchase had ended without gems is logged as an error.

Nobody bounds how many begin at once. So they begin without a lease, and a runner of their own
takes MAX_RUNNING at a time. Charges take turns. Purchases have another runner.
"""

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.clawbacks.gems import CLAWBACK, ClawbackUpdate, total_of, updates
from account_svc.domain.payments import OtherProvider, PaymentProvider
from account_svc.domain.purchases import Purchase, PurchaseState, purchase_id_of
from account_svc.domain.reversals import Reversal
from account_svc.domain.wallets import BalanceLimit
from account_svc.storage import clawbacks as storage
from account_svc.storage import wallets
from account_svc.use_cases.following import FOLLOWING
from account_svc.use_cases.purchasing.credits import WalletBusy
from account_svc.use_cases.purchasing.reads import purchase_reads
from mesh.deadlines import Deadline, within
from mesh.failpoints import Failpoint, no_failpoint
from mesh.postgres.database import Database, LockTimeout
from mesh.saga import rows
from mesh.saga.definition import (
    Definition,
    PlainMove,
    Saga,
    SharedMove,
    State,
    StillWaiting,
    Transition,
)
from mesh.saga.runner import SagaLimits, SagaRunner

MAX_RUNNING = 16
"""How many charges an instance follows at a time."""
FOLLOWED = "FOLLOWED"
log = structlog.get_logger()


class PurchaseUnderWay(StillWaiting):
    """The purchase has not ended yet, so it is not known whether gems have to be taken back."""

    REASON = "PURCHASE_UNDER_WAY"


class ClawbackSaga:
    """The definition of the saga, over the account database and the provider."""

    def __init__(self, database: Database, provider: PaymentProvider) -> None:
        self._database = database
        self._provider = provider
        self._purchases = purchase_reads(database)
        self.definition = Definition(
            CLAWBACK, FOLLOWING, {FOLLOWING: State(self._follow, {FOLLOWED})}
        )

    async def _follow(self, saga: Saga, deadline: Deadline) -> PlainMove | SharedMove:
        charge_id = saga.body["charge_id"]
        charge = await self._provider.find_reversals(charge_id, deadline)
        purchase_id = purchase_id_of(charge.key) if charge is not None else None
        record = None if purchase_id is None else await self._purchases.get(purchase_id)
        if charge is None or record is None:
            log.info("skip_reversed_charge", charge_id=charge_id)
            return PlainMove(FOLLOWED)
        if record.purchase.provider != self._provider.name:
            raise OtherProvider(f"This purchase belongs to {record.purchase.provider}.")
        match record.state:
            case PurchaseState.PENDING:
                raise PurchaseUnderWay("The purchase has not ended yet.")
            case PurchaseState.CREDITED if await self._is_behind(record.purchase, charge.reversals):
                return SharedMove(
                    lambda: self._claw_back(saga, record.purchase, charge.reversals, deadline)
                )
            case PurchaseState.REFUNDED if charge.failed_to_refund(record.purchase.price_minor):
                # The comparison reports it as an uncredited charge until it is refunded.
                log.error("keep_uncredited_money", purchase_id=purchase_id, charge_id=charge_id)
        return PlainMove(FOLLOWED)

    async def _is_behind(self, purchase: Purchase, reversals: tuple[Reversal, ...]) -> bool:
        """Whether there is something to apply. What is stored never moves back, so a read without
        the wallet's lock is right when it finds nothing."""
        stored = await self._database.autocommit(
            lambda cursor: storage.list_clawbacks(cursor, purchase.purchase_id)
        )
        return bool(updates(purchase, stored, reversals))

    async def _claw_back(
        self,
        saga: Saga,
        purchase: Purchase,
        reversals: tuple[Reversal, ...],
        deadline: Deadline,
    ) -> Saga:
        """Applies what has changed and ends the saga, in one transaction. Raises WalletBusy."""

        def work(cursor: Cursor) -> tuple[Saga, list[ClawbackUpdate]]:
            made = follow_reversals(cursor, purchase, reversals)
            return rows.move(cursor, self.definition, Transition(saga, FOLLOWED)), made

        try:
            await within(deadline, self._database.room_to_wait.acquire())
            try:
                moved, made = await self._database.transaction(work)
            finally:
                self._database.room_to_wait.release()
        except (LockTimeout, TimeoutError):
            raise WalletBusy("Other transactions hold the wallet; try again soon.") from None
        for update in made:
            log.info(
                "follow_reversal",
                purchase_id=purchase.purchase_id,
                reversal_id=update.clawback.reversal_id,
                kind=update.clawback.kind,
                state=update.clawback.state,
                amount_gems=update.change.amount_gems if update.change is not None else 0,
            )
        return moved


def follow_reversals(
    cursor: Cursor, purchase: Purchase, reversals: tuple[Reversal, ...]
) -> list[ClawbackUpdate]:
    """Takes back or returns gems until a credited purchase has followed its reversals. Returns
    what was done. Idempotent. Waits for the wallet no longer than its lock timeout.

    Raises BalanceLimit when the wallet cannot hold what is to be returned; roll back then.
    """
    wallets.wait_for_wallets(cursor, [purchase.user_id])
    stored = storage.list_clawbacks(cursor, purchase.purchase_id)
    made = updates(purchase, stored, reversals)
    if not made:
        return []
    for update in made:
        if update.change is not None and not wallets.change_balances(cursor, [update.change]):
            raise BalanceLimit
    changed = [update.clawback for update in made]
    current = {each.clawback_id: each for each in (*stored, *changed)}
    storage.store_clawbacks(cursor, purchase, changed, total_of(purchase, list(current.values())))
    return made


def clawback_runner(
    database: Database,
    provider: PaymentProvider,
    *,
    limits: SagaLimits | None = None,
    failpoint: Failpoint = no_failpoint,
) -> SagaRunner:
    """The runner that follows charges, and drives nothing else."""
    return SagaRunner(
        database,
        [ClawbackSaga(database, provider).definition],
        limits=limits or SagaLimits(max_due=MAX_RUNNING),
        failpoint=failpoint,
    )
