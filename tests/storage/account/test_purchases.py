"""Purchases on a real PostgreSQL: whoever dies, and whatever the provider says or fails to
say, money is kept if and only if its gems were credited."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.adapters.passwords import Passwords
from account_svc.domain.accounts import UserNotFound
from account_svc.domain.debits import Debit
from account_svc.domain.payments import (
    Charge,
    ChargeOrder,
    ChargeState,
    PaymentDeclined,
    PaymentEvent,
    PaymentMethodExpired,
    ProviderAway,
    UnsupportedAmount,
    UnsupportedPaymentMethod,
)
from account_svc.domain.purchases import (
    MAX_PURCHASE_GEMS,
    Price,
    PurchaseNotFound,
    PurchaseRecord,
    PurchaseState,
)
from account_svc.domain.wallets import MAX_BALANCE_GEMS, BalanceLimit
from account_svc.use_cases.debits import apply_debits
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.purchase_saga import PurchaseSaga
from account_svc.use_cases.purchases import Purchases
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.deadlines import Deadline
from mesh.errors import InvalidArgument, MeshError
from mesh.failpoints import Reach, unharmed
from mesh.postgres.database import Database
from mesh.saga.runner import SagaLimits, SagaRunner
from mesh.txn.model import Operation
from tests.storage.account.funding import FundedAccounts, sessions_over
from tests.storage.conftest import empty, migrations_of
from tests.storage.holding import held

QUICK = SagaLimits(
    step_seconds=2.0, lease_seconds=0.3, first_pause_seconds=0.01, longest_pause_seconds=0.02
)
PRICE = Price(99, "USD")
REFUSED = {
    "declined": (PaymentDeclined, PaymentDeclined.REASON),
    "expired": (PaymentMethodExpired, PaymentMethodExpired.REASON),
    "unsupported": (UnsupportedPaymentMethod, UnsupportedPaymentMethod.REASON),
    "too small": (UnsupportedAmount, UnsupportedAmount.REASON),
}


class Killed(BaseException):
    """What a process that ends does to its tasks."""


@dataclass
class Provider:
    """A provider that keeps a book, and loses messages."""

    name: str = "fake"
    book: dict[str, Charge] = field(default_factory=dict)
    orders: dict[str, ChargeOrder] = field(default_factory=dict)
    refunds: dict[str, str] = field(default_factory=dict)
    strikes: list[str] = field(default_factory=list)
    """What happens to the next messages: "request lost", "reply lost" or nothing."""
    verdict: str = ""
    """What becomes of new charges: a key of REFUSED, "pending", or taken when empty."""
    gate: asyncio.Event | None = None
    """What messages wait for, where there is one."""
    on_charge: Callable[[], Coroutine[Any, Any, object]] | None = None

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

    def read_event(self, body: bytes, signature: str) -> PaymentEvent | None:
        raise AssertionError("nobody sends webhooks here")

    async def close(self) -> None: ...

    def settle(self) -> None:
        """Pending charges succeed."""
        for key, charge in self.book.items():
            self.book[key] = replace(charge, state=ChargeState.SUCCEEDED)

    def kept_minor(self) -> int:
        """The money that was taken and not given back."""
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
            raise UnsupportedPaymentMethod.of(order.payment_method)
        if self.verdict == "too small":
            raise UnsupportedAmount.refused()
        state, reason = ChargeState.SUCCEEDED, ""
        if self.verdict == "pending":
            state = ChargeState.PENDING
        elif self.verdict:
            state, reason = ChargeState.DECLINED, REFUSED[self.verdict][1]
        self.orders[order.key] = order
        self.book[order.key] = Charge(order.key, f"ch_{len(self.book)}", state, reason)

    def _refund(self, charge: Charge, key: str) -> None:
        stored = self.book[charge.key]
        assert stored.charge_id == charge.charge_id
        assert self.refunds.setdefault(charge.key, key) == key, "refunded under one key"
        self.book[charge.key] = replace(stored, state=ChargeState.REFUNDED)


class House:
    """One database, one provider, and as many instances as are asked for."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.provider = Provider()
        self.accounts = FundedAccounts(
            database, Passwords(), LoginGuard(database), sessions_over(database)
        )

    def instance(self, reach: Reach = unharmed) -> tuple[Purchases, SagaRunner]:
        saga = PurchaseSaga(self.database, self.provider)
        runner = SagaRunner(self.database, [saga.definition], limits=QUICK, reach=reach)
        name = self.provider.name
        return Purchases(self.database, runner, provider_name=name, price=PRICE), runner

    async def register(self, username: str = "mira") -> str:
        return await self.accounts.register(
            username, "a long password", f"{username}@example.com", "", "192.0.2.1"
        )

    async def purchases_of(self, user_id: str) -> list[PurchaseRecord]:
        """Newest first."""
        records, _ = await self.instance()[0].history(user_id, 0, "")
        return records

    async def until_ended(self, user_id: str) -> PurchaseRecord:
        """Drives what is due, as a living instance does, until the newest has ended."""
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


@pytest.fixture
def schema(shared_database: Callable[[str, str], Database], repository: Path) -> Database:
    return shared_database("purchases", migrations_of(repository, "account_svc"))


@pytest.fixture
async def house(schema: Database) -> House:
    await empty(schema)
    return House(schema)


@pytest.fixture
async def mira(house: House) -> str:
    return await house.register()


@pytest.fixture
def purchases(house: House) -> Purchases:
    return house.instance()[0]


async def buy(
    purchases: Purchases,
    user_id: str,
    gems: int = 100,
    method: str = "credit_card",
    key: str = "k",
    seconds: float = 10.0,
) -> PurchaseRecord:
    return await purchases.buy(user_id, gems, method, key, Deadline.after(seconds))


async def test_a_purchase_charges_its_price_and_credits_its_gems(
    house: House, purchases: Purchases, mira: str
) -> None:
    bought = await buy(purchases, mira, 150)
    assert (bought.state, bought.balance_after_gems) == (PurchaseState.CREDITED, 150)
    order = house.provider.orders[bought.purchase.purchase_id]
    assert (order.amount_minor, order.currency, order.user_id) == (149, "USD", mira)
    [entry], _ = await house.accounts.ledger(mira, 0, "")
    assert (entry.operation_id, entry.kind) == (bought.purchase.purchase_id, "purchase")


async def test_one_key_is_one_purchase_however_often_and_at_once(house: House, mira: str) -> None:
    instances = [house.instance()[0] for _ in range(3)]
    answers = await asyncio.gather(*(buy(each, mira) for each in instances * 3))
    await buy(instances[0], mira, 7, key="k2")
    answers.append(await buy(instances[0], mira))
    assert {answer.balance_after_gems for answer in answers} == {100}
    assert await house.accounts.balance(mira) == 107
    assert len(house.provider.book) == 2


@pytest.mark.parametrize(("gems", "method"), [(101, "credit_card"), (100, "paypal")])
@pytest.mark.parametrize("verdict", ["", "declined"])
async def test_a_key_with_another_body_is_refused_however_the_first_ended(
    house: House, purchases: Purchases, mira: str, gems: int, method: str, verdict: str
) -> None:
    house.provider.verdict = verdict
    with suppress(PaymentDeclined):
        await buy(purchases, mira)
    with pytest.raises(IdempotencyKeyReused):
        await buy(purchases, mira, gems, method)
    assert len(await house.purchases_of(mira)) == 1


async def test_two_players_may_use_the_same_key(house: House, purchases: Purchases) -> None:
    first, second = await house.register(), await house.register("noor")
    assert (await buy(purchases, first, 1)).balance_after_gems == 1
    assert (await buy(purchases, second, 2)).balance_after_gems == 2


@pytest.mark.parametrize("verdict", REFUSED)
async def test_a_refused_charge_costs_nothing_and_its_key_tries_anew(
    house: House, purchases: Purchases, mira: str, verdict: str
) -> None:
    house.provider.verdict = verdict
    kind, reason = REFUSED[verdict]
    with pytest.raises(kind) as caught:
        await buy(purchases, mira)
    [failed] = await house.purchases_of(mira)
    assert (caught.value.reason, failed.reason) == (reason, reason)
    assert caught.value.metadata["purchase_id"] == failed.purchase.purchase_id
    assert (failed.state, house.provider.kept_minor()) == (PurchaseState.FAILED, 0)
    house.provider.verdict = ""
    again = await buy(purchases, mira)
    assert (again.purchase.attempt, again.state) == (2, PurchaseState.CREDITED)
    assert await house.accounts.balance(mira) == 100


@pytest.mark.parametrize("strike", ["request lost", "reply lost"])
async def test_a_provider_that_is_away_is_asked_again_with_the_same_key(
    house: House, purchases: Purchases, mira: str, strike: str
) -> None:
    house.provider.strikes = [strike] * 3
    buying = asyncio.create_task(buy(purchases, mira))
    while not await house.purchases_of(mira):
        await asyncio.sleep(0.01)
    await house.until_ended(mira)
    assert (await buying).balance_after_gems == 100
    assert (len(house.provider.book), house.provider.kept_minor()) == (1, 99)


async def test_a_charge_that_is_pending_is_answered_so_and_credited_later(
    house: House, purchases: Purchases, mira: str
) -> None:
    house.provider.verdict = "pending"
    pending = await buy(purchases, mira, seconds=0.4)
    assert (pending.state, pending.ended_at) == (PurchaseState.PENDING, None)
    assert (await buy(purchases, mira, seconds=0.4)).state is PurchaseState.PENDING
    house.provider.settle()
    await house.until_ended(mira)
    assert (await buy(purchases, mira)).balance_after_gems == 100
    assert len(house.provider.book) == 1


async def test_a_provider_slower_than_the_caller_goes_on_without_it(
    house: House, purchases: Purchases, mira: str
) -> None:
    house.provider.gate = asyncio.Event()
    assert (await buy(purchases, mira, seconds=0.35)).state is PurchaseState.PENDING
    house.provider.gate.set()
    assert (await house.until_ended(mira)).state is PurchaseState.CREDITED
    assert await house.accounts.balance(mira) == 100


POINTS = [
    f"saga.purchase.{moment}_{state}"
    for state in ("CHARGING", "PAID", "REFUNDING")
    for moment in ("before", "after", "moved")
]


@pytest.mark.parametrize("point", POINTS)
async def test_another_instance_finishes_what_one_that_died_began(
    house: House, mira: str, point: str
) -> None:
    died = False

    def die(reached: str) -> None:
        nonlocal died
        if reached == point:
            died = True
            raise Killed

    to_refund = "REFUNDING" in point
    if to_refund:

        async def fill_once() -> None:
            house.provider.on_charge = None
            await house.fill(mira)

        house.provider.on_charge = fill_once
    dying, _ = house.instance(die)
    with suppress(MeshError):
        await buy(dying, mira, seconds=0.4)
    ended = await house.until_ended(mira)
    assert died
    assert ended.state is (PurchaseState.REFUNDED if to_refund else PurchaseState.CREDITED)
    assert house.provider.kept_minor() == (0 if to_refund else 99)
    assert len(house.provider.refunds) == int(to_refund)


async def test_a_wallet_that_a_pull_holds_delays_the_credit_and_refunds_nothing(
    house: House, purchases: Purchases, mira: str
) -> None:
    await house.accounts.give(mira, 100)

    def pull(cursor: Cursor) -> None:
        apply_debits(cursor, [Operation(str(uuid4()), Debit(mira, 1))])

    async with held(house.database, pull):
        assert (await buy(purchases, mira, seconds=0.4)).state is PurchaseState.PENDING
        assert house.provider.kept_minor() == 99
    assert (await house.until_ended(mira)).state is PurchaseState.CREDITED
    assert (await house.accounts.balance(mira), house.provider.refunds) == (199, {})


async def test_gems_that_the_wallet_cannot_hold_any_more_are_refunded_once(
    house: House, purchases: Purchases, mira: str
) -> None:
    async def fill_once() -> None:
        house.provider.on_charge = None
        await house.fill(mira)
        house.provider.strikes = ["reply lost"]

    house.provider.on_charge = fill_once
    with suppress(BalanceLimit):
        await buy(purchases, mira, seconds=0.5)
    refunded = await house.until_ended(mira)
    assert (refunded.state, refunded.reason) == (PurchaseState.REFUNDED, "BALANCE_LIMIT")
    assert (house.provider.kept_minor(), len(house.provider.refunds)) == (0, 1)
    with pytest.raises(BalanceLimit):
        await buy(purchases, mira)
    assert len(house.provider.book) == 1, "what cannot be credited is not charged for"


async def test_what_a_full_wallet_cannot_hold_is_refused_before_it_is_charged(
    house: House, purchases: Purchases, mira: str
) -> None:
    await house.fill(mira)
    with pytest.raises(BalanceLimit):
        await buy(purchases, mira, 2)
    assert house.provider.book == {}
    assert (await buy(purchases, mira, 1)).balance_after_gems == MAX_BALANCE_GEMS


async def test_a_charge_that_somebody_else_gave_back_credits_nothing(
    house: House, purchases: Purchases, mira: str
) -> None:
    house.provider.verdict = "pending"
    await buy(purchases, mira, seconds=0.35)
    for key, charge in house.provider.book.items():
        house.provider.book[key] = replace(charge, state=ChargeState.REFUNDED)
    ended = await house.until_ended(mira)
    assert (ended.state, ended.reason) == (PurchaseState.REFUNDED, "PAYMENT_REFUNDED")
    assert await house.accounts.balance(mira) == 0


async def test_a_purchase_is_never_charged_by_another_provider_than_it_began_with(
    house: House, purchases: Purchases, mira: str
) -> None:
    house.provider.gate = asyncio.Event()
    house.provider.strikes = ["request lost"]
    await buy(purchases, mira, seconds=0.35)
    house.provider.name = "other"
    house.provider.gate.set()
    _, runner = house.instance()
    [pending] = await house.purchases_of(mira)
    async with asyncio.timeout(10):
        while True:
            await runner.run_once()
            saga = await runner.find(pending.purchase.purchase_id)
            if saga is not None and saga.reason == "PAYMENT_PROVIDER_CHANGED":
                break
            await asyncio.sleep(0.01)
    assert house.provider.book == {}
    house.provider.name = "fake"
    assert (await house.until_ended(mira)).state is PurchaseState.CREDITED


async def test_an_old_charge_is_searched_for_before_it_is_made(
    house: House, purchases: Purchases, mira: str
) -> None:
    house.provider.verdict = "pending"
    pending = await buy(purchases, mira, seconds=0.35)
    await house.database.autocommit(
        lambda cursor: cursor.execute(
            "UPDATE purchase SET created_at = created_at - interval '2 days'"
        )
    )
    house.provider.settle()
    # A provider that has forgotten the key would charge anew.
    house.provider.orders[pending.purchase.purchase_id] = ChargeOrder("", "", 99, "", "")
    assert (await house.until_ended(mira)).state is PurchaseState.CREDITED


@pytest.mark.parametrize("gems", [0, -1, MAX_PURCHASE_GEMS + 1])
async def test_amounts_out_of_bounds_are_refused_by_name(purchases: Purchases, gems: int) -> None:
    with pytest.raises(InvalidArgument, match=r"^amount must be 1 to 1,000,000,000"):
        await buy(purchases, str(uuid4()), gems)


async def test_a_player_who_does_not_exist_buys_nothing(house: House, purchases: Purchases) -> None:
    with pytest.raises(UserNotFound):
        await buy(purchases, str(uuid4()))
    assert house.provider.book == {}


async def test_players_see_their_own_purchases_page_by_page(
    house: House, purchases: Purchases, mira: str
) -> None:
    noor = await house.register("noor")
    bought = [await buy(purchases, mira, gems, key=str(gems)) for gems in (1, 2, 3)]
    page, token = await purchases.history(mira, 2, "")
    rest, end = await purchases.history(mira, 2, token)
    assert [each.purchase.amount_gems for each in page + rest] == [3, 2, 1]
    assert (end, await purchases.history(noor, 0, "")) == ("", ([], ""))
    purchase_id = bought[0].purchase.purchase_id
    assert (await purchases.find(mira, purchase_id)).purchase == bought[0].purchase
    for user_id, sought in ((noor, purchase_id), (mira, str(uuid4()))):
        with pytest.raises(PurchaseNotFound):
            await purchases.find(user_id, sought)
