"""Credits paid purchases, many in one transaction.

Guarantees:
- A purchase is credited at most once. Its ledger entry, its outcome and the move of its saga
  commit together, and only while its driver holds the saga's lease.
- Purchases whose wallets are free share the next transaction. While one is under way, others
  gather; there is no timer.
- A busy wallet delays its own purchases only. They wait for its lock in PostgreSQL's queue, where
  a pull, which never waits, cannot overtake them. Half of the connections wait at a time at most
  (`Database.room_to_wait`), each for one wallet and for no longer than LOCK_TIMEOUT; then the next
  wallet has its turn.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.purchases import PURCHASE, Purchase, PurchaseSagaState, PurchaseState
from account_svc.domain.wallets import BalanceChange
from account_svc.storage import purchases as storage
from account_svc.storage import wallets
from mesh.deadlines import Deadline, within
from mesh.errors import MeshError
from mesh.postgres.database import Database, LockTimeout, LostRace
from mesh.saga import rows
from mesh.saga.definition import Definition, Saga, StillWaiting, Transition

BALANCE_AFTER_GEMS = "balance_after_gems"
"""What the body of a credited purchase's saga says: the balance right after the credit."""
MAX_BATCH = 256
MAX_BATCH_OF_WALLET = 32
"""Bounds the time for which one transaction holds a wallet."""


class WalletBusy(StillWaiting):
    """Other transactions held the wallet until the deadline. A credit may still be made while the
    saga's lease is held; a clawback was not made. A repeat of either is harmless."""

    REASON = "WALLET_BUSY"
    PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Paid:
    """A purchase whose charge succeeded, and its saga in the state PAID."""

    saga: Saga
    purchase: Purchase


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    paid: Paid
    moved: "asyncio.Future[Saga]"

    @property
    def user_id(self) -> str:
        return self.paid.purchase.user_id

    def is_given_up(self) -> bool:
        return self.moved.done()

    def fail(self, error: Exception) -> None:
        if not self.moved.done():
            self.moved.set_exception(error)

    def succeed(self, saga: Saga) -> None:
        if not self.moved.done():
            self.moved.set_result(saga)


class Credits:
    """The credits of one database. Use it in one event loop only."""

    def __init__(self, database: Database, definition: Definition) -> None:
        """`definition` is that of the purchases' sagas."""
        self._database = database
        self._definition = definition
        self._arrived: deque[_Request] = deque()
        self._of_busy_wallets: dict[str, list[_Request]] = {}
        self._crediting: asyncio.Task[None] | None = None
        self._waiting: set[asyncio.Task[None]] = set()

    async def credit(self, paid: Paid, deadline: Deadline) -> Saga:
        """Credits the wallet and returns the saga in its next state: CREDITED, or REFUNDING when
        the wallet cannot hold the gems.

        Raises LeaseLost when nothing was changed, and WalletBusy. After WalletBusy and any other
        MeshError the outcome is unknown; a repeat is harmless.
        """
        request = _Request(paid, asyncio.get_running_loop().create_future())
        self._arrived.append(request)
        if self._crediting is None:
            self._crediting = asyncio.create_task(self._keep_crediting(), name="credits")
        try:
            return await within(deadline, request.moved)
        except TimeoutError:
            raise WalletBusy(
                "Other transactions hold the wallet; the credit is due soon."
            ) from None

    async def _keep_crediting(self) -> None:
        try:
            while self._arrived:
                for request in await self._attempt(self._next_batch(), waits=False):
                    self._wait_in_line(request)
        finally:
            self._crediting = None

    def _next_batch(self) -> list[_Request]:
        """The requests that have waited longest. Those of busy wallets join their lines."""
        batch: list[_Request] = []
        counts: Counter[str] = Counter()
        later: list[_Request] = []
        while self._arrived and len(batch) < MAX_BATCH:
            request = self._arrived.popleft()
            if request.is_given_up():
                continue
            if request.user_id in self._of_busy_wallets:
                self._wait_in_line(request)
            elif counts[request.user_id] == MAX_BATCH_OF_WALLET:
                later.append(request)
            else:
                counts[request.user_id] += 1
                batch.append(request)
        self._arrived.extendleft(reversed(later))
        return batch

    def _wait_in_line(self, request: _Request) -> None:
        line = self._of_busy_wallets.setdefault(request.user_id, [])
        line.append(request)
        if len(line) == 1:
            task = asyncio.create_task(self._wait_for(request.user_id), name="busy-wallet")
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _wait_for(self, user_id: str) -> None:
        """Credits the purchases of a busy wallet until none is left."""
        line = self._of_busy_wallets[user_id]
        try:
            while line:
                async with self._database.room_to_wait:
                    batch = [each for each in line if not each.is_given_up()][:MAX_BATCH_OF_WALLET]
                    busy = await self._attempt(batch, waits=True)
                done = set(batch) - set(busy)
                line[:] = [each for each in line if each not in done and not each.is_given_up()]
        finally:
            del self._of_busy_wallets[user_id]

    async def _attempt(self, batch: Sequence[_Request], *, waits: bool) -> Sequence[_Request]:
        """Credits a batch. Returns the requests whose wallets were busy. One request that the
        database refuses fails alone."""
        if not batch:
            return []
        paid = [request.paid for request in batch]
        try:
            moved = await self._database.transaction(
                lambda cursor: self._credit(cursor, paid, waits)
            )
        except LockTimeout:
            return batch
        except Exception as error:  # noqa: BLE001 (the drivers of the sagas get it)
            is_of_all = isinstance(error, MeshError) and not isinstance(error, LostRace)
            if is_of_all or len(batch) == 1:
                for request in batch:
                    request.fail(error)
                return []
            alone = [await self._attempt([request], waits=waits) for request in batch]
            return [request for busy in alone for request in busy]
        busy = []
        for request in batch:
            saga_id = request.paid.saga.saga_id
            if saga_id not in moved:
                busy.append(request)
            elif (saga := moved[saga_id]) is None:
                request.fail(rows.LeaseLost("Another process drives this saga now."))
            else:
                request.succeed(saga)
        return busy

    def _credit(
        self, cursor: Cursor, paid: Sequence[Paid], waits: bool
    ) -> Mapping[str, Saga | None]:
        """The moved sagas by id, and None for those whose lease was lost. Those of busy wallets are
        missing. The wallets are locked before the sagas, so that nobody waits for a saga while its
        wallet is waited for."""
        user_ids = {each.purchase.user_id for each in paid}
        lock = wallets.wait_for_wallets if waits else wallets.lock_wallets
        locked = lock(cursor, user_ids)
        assert locked == user_ids or not waits, "every purchase has its player's wallet"
        free = [each for each in paid if each.purchase.user_id in locked]
        held = rows.hold(cursor, [each.saga for each in free])
        standing = [each for each in free if held.get(each.saga.saga_id) == each.saga.lease]
        credited = wallets.change_in_rounds(
            cursor,
            [
                BalanceChange(bought.purchase_id, bought.user_id, PURCHASE, bought.amount_gems)
                for bought in (each.purchase for each in standing)
            ],
        )
        storage.insert_outcomes(cursor, credited, PurchaseState.CREDITED)
        transitions = [_transition(each.saga, credited) for each in standing]
        moved = rows.move_all(cursor, self._definition, transitions)
        assert moved.keys() == {each.saga.saga_id for each in standing}, "what is held stays held"
        return {each.saga.saga_id: moved.get(each.saga.saga_id) for each in free}


def _transition(saga: Saga, balances_after_gems: Mapping[str, int]) -> Transition:
    """The move of a purchase's saga; `balances_after_gems` has the credited purchases."""
    balance_gems = balances_after_gems.get(saga.saga_id)
    if balance_gems is None:
        return Transition(saga, PurchaseSagaState.REFUNDING)
    return Transition(saga, PurchaseSagaState.CREDITED, {BALANCE_AFTER_GEMS: balance_gems})
