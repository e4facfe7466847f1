"""Instances of the purchase saga over one database, with a provider that the test controls."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.adapters.passwords import Passwords
from account_svc.domain.payments import (
    BookedCharge,
    Charge,
    ChargeOrder,
    ChargeState,
    PaymentDeclined,
    PaymentEvent,
    PaymentMethodExpired,
    Period,
    ProviderAway,
    UnsupportedAmount,
    UnsupportedPaymentMethod,
)
from account_svc.domain.prices import Price, PriceList
from account_svc.domain.purchases import (
    PurchaseRecord,
)
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState, ReversedCharge
from account_svc.domain.wallets import MAX_BALANCE_GEMS
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.purchasing.credits import Credits
from account_svc.use_cases.purchasing.purchases import Purchases
from account_svc.use_cases.purchasing.reads import BegunPurchases
from account_svc.use_cases.purchasing.saga import PurchaseSaga
from mesh.deadlines import Deadline
from mesh.failpoints import Failpoint, no_failpoint
from mesh.postgres.database import Database
from mesh.saga.runner import SagaLimits, SagaRunner
from tests.storage.account.funding import FundedAccounts, sessions_over

QUICK = SagaLimits(
    step_seconds=2.0, lease_seconds=0.3, first_pause_seconds=0.01, longest_pause_seconds=0.02
)


PRICES = PriceList(Price(99, "USD"), (160, 1600), ("credit_card", "paypal"))


DAY_SECONDS = 86_400


REFUSED = {
    "declined": (PaymentDeclined, PaymentDeclined.REASON),
    "expired": (PaymentMethodExpired, PaymentMethodExpired.REASON),
    "unsupported": (UnsupportedPaymentMethod, UnsupportedPaymentMethod.REASON),
    "too small": (UnsupportedAmount, UnsupportedAmount.REASON),
}


@dataclass
class Provider:
    """A provider that keeps a book, and loses messages."""

    name: str = "fake"
    payment_methods: tuple[str, ...] = ("credit_card", "paypal")
    book: dict[str, Charge] = field(default_factory=dict)
    orders: dict[str, ChargeOrder] = field(default_factory=dict)
    refunds: dict[str, str] = field(default_factory=dict)
    reversals: dict[str, Reversal] = field(default_factory=dict)
    reversed_at: dict[str, float] = field(default_factory=dict)
    """When each reversal was made, in Unix seconds."""
    asked: list[Period] = field(default_factory=list)
    """The periods whose charges were listed."""
    strikes: list[str] = field(default_factory=list)
    """What happens to the next messages: "request lost", "reply lost" or nothing."""
    verdict: str = ""
    """What becomes of new charges: a key of REFUSED, "pending", or taken when empty."""
    gate: asyncio.Event | None = None
    """What messages wait for, where there is one."""
    on_charge: Callable[[], Coroutine[Any, Any, object]] | None = None
    on_refund: Callable[[], Coroutine[Any, Any, object]] | None = None
    is_list_empty: bool = False
    """Whether all charges were made before any period that is listed."""

    async def charge(self, order: ChargeOrder, deadline: Deadline) -> Charge:
        await self._deliver(lambda: self._charge(order))
        if self.on_charge is not None:
            await self.on_charge()
        return self.book[order.key]

    async def find_charge(self, key: str, deadline: Deadline) -> Charge | None:
        await self._deliver(lambda: None)
        return self.book.get(key)

    async def refund(self, charge: Charge, key: str, deadline: Deadline) -> None:
        await self._deliver(lambda: self._refund(charge, key))
        if self.on_refund is not None:
            await self.on_refund()

    async def find_reversals(self, charge_id: str, deadline: Deadline) -> ReversedCharge | None:
        await self._deliver(lambda: None)
        for charge in self.book.values():
            if charge.charge_id == charge_id:
                found = [each for each in self.reversals.values() if each.charge_id == charge_id]
                return ReversedCharge(charge.key, tuple(found))
        return None

    async def list_charges(self, period: Period) -> AsyncIterator[BookedCharge]:
        self.asked.append(period)
        if self.is_list_empty:
            return
        for key, charge in list(self.book.items()):
            order = self.orders[key]
            yield BookedCharge(
                key, charge.charge_id, charge.state, order.amount_minor, order.currency
            )

    async def list_reversals(self, period: Period) -> AsyncIterator[Reversal]:
        for reversal in list(self.reversals.values()):
            if period.since <= self.reversed_at[reversal.reversal_id] < period.until:
                yield reversal

    def read_event(self, body: bytes, signature: str) -> PaymentEvent | None:
        raise AssertionError("nobody sends webhooks here")

    async def close(self) -> None: ...

    def settle(self) -> None:
        """Pending charges succeed."""
        for key, charge in self.book.items():
            self.book[key] = replace(charge, state=ChargeState.SUCCEEDED)

    def kept_minor(self) -> int:
        """The charged money that was not refunded."""
        return sum(
            self.orders[key].amount_minor
            for key, charge in self.book.items()
            if charge.state is ChargeState.SUCCEEDED
        )

    async def _deliver(self, message: Callable[[], None]) -> None:
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        strike = self.strikes.pop(0) if self.strikes else ""
        if strike != "request lost":
            message()
        if strike:
            raise ProviderAway(strike)

    def _charge(self, order: ChargeOrder) -> None:
        if order.key in self.book:
            assert self.orders[order.key] == order, "a key is one order's for ever"
            return
        if self.verdict == "unsupported":
            raise UnsupportedPaymentMethod.of(order.payment_method, self.payment_methods)
        if self.verdict == "too small":
            raise UnsupportedAmount.refused()
        state, reason = ChargeState.SUCCEEDED, ""
        if self.verdict == "pending":
            state = ChargeState.PENDING
        elif self.verdict:
            state, reason = ChargeState.DECLINED, REFUSED[self.verdict][1]
        self.orders[order.key] = order
        self.book[order.key] = Charge(order.key, f"ch_{len(self.book)}", state, reason)

    def reverse(
        self,
        charge_id: str,
        reversal_id: str,
        amount_minor: int,
        state: ReversalState = ReversalState.SETTLED,
        kind: ReversalKind = ReversalKind.REFUND,
    ) -> None:
        """Makes or moves a refund or dispute."""
        reversal = Reversal(kind, reversal_id, charge_id, amount_minor, state)
        self.reversals[reversal_id] = reversal
        self.reversed_at.setdefault(reversal_id, time.time())

    def grow_older(self, days: float) -> None:
        """All reversals were made that much earlier."""
        for reversal_id in self.reversed_at:
            self.reversed_at[reversal_id] -= days * DAY_SECONDS

    def _refund(self, charge: Charge, key: str) -> None:
        stored = self.book[charge.key]
        assert stored.charge_id == charge.charge_id
        assert self.refunds.setdefault(charge.key, key) == key, "refunded under one key"
        self.book[charge.key] = replace(stored, state=ChargeState.REFUNDED)


class Shop:
    """One database, one provider, and any number of instances."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.provider = Provider()
        self.accounts = FundedAccounts(
            database, Passwords(), LoginGuard(database), sessions_over(database)
        )

    def instance(
        self,
        failpoint: Failpoint = no_failpoint,
        *,
        limits: SagaLimits = QUICK,
        max_pending: int = 1000,
    ) -> tuple[Purchases, SagaRunner]:
        begun = BegunPurchases(self.database)
        definition = PurchaseSaga(self.database, self.provider, begun).definition
        runner = SagaRunner(self.database, [definition], limits=limits, failpoint=failpoint)
        purchases = Purchases(
            self.database,
            runner,
            begun,
            provider_name=self.provider.name,
            prices=PRICES,
            max_pending=max_pending,
        )
        return purchases, runner

    def credits(self, database: Database | None = None) -> Credits:
        """The credits of an instance. `database` is for these, if that is another one."""
        begun = BegunPurchases(self.database)
        definition = PurchaseSaga(self.database, self.provider, begun).definition
        return Credits(database or self.database, definition)

    async def register(self, username: str = "mira") -> str:
        return await self.accounts.register(
            username, "a long password", f"{username}@example.com", "", "192.0.2.1"
        )

    async def purchases_of(self, user_id: str) -> list[PurchaseRecord]:
        """The player's purchases, newest first."""
        records, _ = await self.instance()[0].history(user_id, 0, "")
        return records

    async def state_count(self, state: str) -> int:
        """How many sagas are in that state."""

        def count(cursor: Cursor) -> int:
            cursor.execute("SELECT count(*) FROM saga WHERE state = %s", (state,))
            return int((cursor.fetchone() or (0,))[0])

        return await self.database.autocommit(count)

    async def make_due(self, last_id: str) -> None:
        """Ends the leases and the pauses of all sagas. That one is the last to become due."""
        await self.database.autocommit(
            lambda cursor: cursor.execute(
                "UPDATE saga SET lease = '', due_at = now() - make_interval(mins =>"
                " (saga_id <> %s)::int) WHERE due_at IS NOT NULL",
                (last_id,),
            )
        )

    async def until_ended(self, user_id: str) -> PurchaseRecord:
        """Runs due sagas, like a running instance, until the newest purchase has ended."""
        _, runner = self.instance()
        async with asyncio.timeout(10):
            while (newest := (await self.purchases_of(user_id))[0]).ended_at is None:
                await runner.run_once()
                await asyncio.sleep(0.01)
        return newest

    async def fill(self, user_id: str) -> None:
        """Leaves room for one gem in the wallet."""
        room = MAX_BALANCE_GEMS - await self.accounts.balance(user_id) - 1
        await self.accounts.give(user_id, room)


async def buy(
    purchases: Purchases,
    user_id: str,
    gems: int = 100,
    method: str = "credit_card",
    key: str = "k",
    seconds: float = 10.0,
) -> PurchaseRecord:
    return await purchases.buy(user_id, gems, method, key, Deadline.after(seconds))
