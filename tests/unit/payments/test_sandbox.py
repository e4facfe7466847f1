"""The sandbox behaves like real payment providers, also in failures."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from account_svc.domain.payments import (
    ChargeState,
    PaymentDeclined,
    PaymentMethodExpired,
    ProviderAway,
    UnsupportedPaymentMethod,
)
from mesh.deadlines import Deadline
from mesh.errors import Internal
from payment_sandbox.app import MAX_BODY_BYTES
from payment_sandbox.faults import FaultRates, Faults
from tests.unit.payments.running import (
    PENDING_SECONDS,
    SLOW_SECONDS,
    Receiver,
    Sandbox,
    ask,
    order,
    receiver,
    sandbox_here,
    soon,
    until,
)


@pytest.fixture
async def webhooks() -> AsyncIterator[Receiver]:
    async with receiver() as taker:
        yield taker


@pytest.fixture
async def sandbox(tmp_path: Path, webhooks: Receiver) -> AsyncIterator[Sandbox]:
    async with sandbox_here(tmp_path / "book.sqlite3", webhooks.url) as here:
        yield here


ORDER = {
    "amount_minor": 499,
    "currency": "USD",
    "payment_method": "credit_card",
    "customer": "somebody",
}


@pytest.mark.parametrize(
    "method", ["credit_card", "debit_card", "paypal", "apple_pay", "google_pay"]
)
async def test_a_supported_method_is_charged(sandbox: Sandbox, method: str) -> None:
    charge = await sandbox.client.charge(order(method), soon())
    assert charge.state is ChargeState.SUCCEEDED


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("card_declined", PaymentDeclined.REASON),
        ("card_insufficient_funds", PaymentDeclined.REASON),
        ("card_expired", PaymentMethodExpired.REASON),
    ],
)
async def test_a_decline_says_why_and_stays_one(sandbox: Sandbox, method: str, reason: str) -> None:
    wanted = order(method)
    declined = await sandbox.client.charge(wanted, soon())
    assert (declined.state, declined.decline_reason) == (ChargeState.DECLINED, reason)
    assert await sandbox.client.charge(wanted, soon()) == declined
    assert await sandbox.client.find_charge(wanted.key, soon()) == declined
    with pytest.raises(Internal, match="charge_not_refundable"):
        await sandbox.client.refund(declined, "refund-of-a-decline", soon())


async def test_an_unknown_method_is_unsupported_and_leaves_no_charge(sandbox: Sandbox) -> None:
    wanted = order("bottle_caps")
    with pytest.raises(UnsupportedPaymentMethod) as refused:
        await sandbox.client.charge(wanted, soon())
    assert refused.value.fields[0].field == "payment_method"
    assert await sandbox.client.find_charge(wanted.key, soon()) is None


async def test_every_method_that_players_are_told_of_pays(sandbox: Sandbox) -> None:
    for method in sandbox.client.payment_methods:
        charge = await sandbox.client.charge(order(method), soon())
        assert charge.state is ChargeState.SUCCEEDED, method


async def test_an_unavailable_method_charges_nothing(sandbox: Sandbox) -> None:
    wanted = order("card_unavailable")
    with pytest.raises(ProviderAway):
        await sandbox.client.charge(wanted, soon())
    assert await sandbox.client.find_charge(wanted.key, soon()) is None


async def test_a_dropped_reply_leaves_a_charge_that_is_found_by_its_key(
    sandbox: Sandbox,
) -> None:
    wanted = order("card_drop_reply")
    with pytest.raises(ProviderAway):
        await sandbox.client.charge(wanted, soon())
    found = await sandbox.client.find_charge(wanted.key, soon())
    assert found is not None
    assert found.state is ChargeState.SUCCEEDED
    assert await sandbox.client.charge(wanted, soon()) == found


async def test_a_slow_reply_is_given_up_at_the_deadline_and_the_charge_was_made(
    sandbox: Sandbox,
) -> None:
    wanted = order("card_slow")
    with pytest.raises(ProviderAway):
        await sandbox.client.charge(wanted, Deadline.after(SLOW_SECONDS / 4))
    found = await sandbox.client.find_charge(wanted.key, soon())
    assert found is not None
    assert found.state is ChargeState.SUCCEEDED
    patient = await sandbox.client.charge(order("card_slow"), soon())
    assert patient.state is ChargeState.SUCCEEDED


async def test_a_pending_charge_succeeds_a_moment_later(sandbox: Sandbox) -> None:
    wanted = order("card_pending")
    pending = await sandbox.client.charge(wanted, soon())
    assert pending.state is ChargeState.PENDING
    with pytest.raises(Internal, match="charge_not_refundable"):
        await sandbox.client.refund(pending, "too-early", soon())
    sandbox.clock.now += PENDING_SECONDS
    found = await sandbox.client.find_charge(wanted.key, soon())
    assert found is not None
    assert found.state is ChargeState.SUCCEEDED


async def test_one_key_is_one_charge_however_often_and_at_once(sandbox: Sandbox) -> None:
    wanted = order()
    charges = await asyncio.gather(*(sandbox.client.charge(wanted, soon()) for _ in range(20)))
    assert len({charge.charge_id for charge in charges}) == 1
    status, book = await ask(sandbox, "GET", "/v1/charges")
    assert status == 200
    assert len(book["charges"]) == 1


async def test_a_new_charge_is_distinguished_from_a_repeated_one(sandbox: Sandbox) -> None:
    statuses = [
        (await ask(sandbox, "POST", "/v1/charges", body=ORDER, key="k"))[0] for _ in range(2)
    ]
    assert statuses == [201, 200]


async def test_a_key_with_another_order_is_refused(sandbox: Sandbox) -> None:
    await ask(sandbox, "POST", "/v1/charges", body=ORDER, key="k")
    other = ORDER | {"amount_minor": 500}
    status, answer = await ask(sandbox, "POST", "/v1/charges", body=other, key="k")
    assert (status, _code(answer)) == (422, "idempotency_key_reused")


async def test_a_charge_is_refunded_once(sandbox: Sandbox) -> None:
    wanted = order()
    charge = await sandbox.client.charge(wanted, soon())
    for key in ("refund", "refund", "another-refund"):
        await sandbox.client.refund(charge, key, soon())
    path = f"/v1/charges/{charge.charge_id}/refund"
    status, answer = await ask(sandbox, "POST", path, key="one-more")
    assert (status, _code(answer)) == (409, "charge_already_refunded")
    found = await sandbox.client.find_charge(wanted.key, soon())
    assert found is not None
    assert found.state is ChargeState.REFUNDED
    _, book = await ask(sandbox, "GET", "/v1/charges")
    [booked] = book["charges"]
    assert [refund["key"] for refund in booked["refunds"]] == ["refund"]


async def test_a_refunds_key_belongs_to_one_charge(sandbox: Sandbox) -> None:
    first = await sandbox.client.charge(order(), soon())
    second = await sandbox.client.charge(order(), soon())
    await sandbox.client.refund(first, "refund", soon())
    with pytest.raises(Internal, match="idempotency_key_reused"):
        await sandbox.client.refund(second, "refund", soon())
    path = "/v1/charges/ch_nobody/refund"
    assert (await ask(sandbox, "POST", path, key="another"))[0] == 404


async def test_the_list_is_read_in_pages_and_misses_nothing(sandbox: Sandbox) -> None:
    keys = [f"k{number}" for number in range(5)]
    for key in keys:
        await ask(sandbox, "POST", "/v1/charges", body=ORDER, key=key)
    listed: list[object] = []
    after: object = 0
    while after is not None:
        _, page = await ask(sandbox, "GET", f"/v1/charges?after={after}&limit=2")
        listed += [charge["key"] for charge in page["charges"]]
        after = page["next_after"]
    assert listed == keys


BAD_CALLS: dict[str, tuple[str, str, object, str | None, int]] = {
    "no key": ("POST", "/v1/charges", ORDER, None, 400),
    "a key with spaces": ("POST", "/v1/charges", ORDER, "a b", 400),
    "too long a key": ("POST", "/v1/charges", ORDER, "k" * 256, 400),
    "no JSON": ("POST", "/v1/charges", b"{", "k", 400),
    "an unknown field": ("POST", "/v1/charges", ORDER | {"tip": 1}, "k", 400),
    "nothing to charge": ("POST", "/v1/charges", ORDER | {"amount_minor": 0}, "k", 400),
    "a fraction": ("POST", "/v1/charges", ORDER | {"amount_minor": 1.5}, "k", 400),
    "no currency": ("POST", "/v1/charges", ORDER | {"currency": "gems"}, "k", 400),
    "too large a body": ("POST", "/v1/charges", b" " * (MAX_BODY_BYTES + 1), "k", 413),
    "too large a page": ("GET", "/v1/charges?limit=1001", None, None, 400),
    "an unknown charge": ("GET", "/v1/charges/nobody", None, None, 404),
    "an unknown route": ("GET", "/v2/charges", None, None, 404),
    "a wrong method": ("DELETE", "/v1/charges", None, None, 405),
    "a probability above one": ("PUT", "/v1/faults", {"slow": 1.1}, None, 400),
}


@pytest.mark.parametrize("name", BAD_CALLS)
async def test_a_bad_call_is_refused_with_a_json_error(sandbox: Sandbox, name: str) -> None:
    method, path, body, key, expected = BAD_CALLS[name]
    status, answer = await ask(sandbox, method, path, body=body, key=key)
    assert status == expected
    assert _code(answer)
    assert (await ask(sandbox, "GET", "/v1/charges"))[1]["charges"] == []


@pytest.mark.parametrize("path", ["/v1/charges", "/v1/charges/k", "/v1/faults", "/nowhere"])
async def test_nothing_is_answered_without_the_secret_key(sandbox: Sandbox, path: str) -> None:
    status, answer = await ask(sandbox, "GET", path, secret_key="guessed")
    assert (status, _code(answer)) == (401, "invalid_api_key")


async def test_health_needs_no_key(sandbox: Sandbox) -> None:
    assert await ask(sandbox, "GET", "/healthz", secret_key="") == (200, {"status": "ok"})


async def test_more_than_the_bound_under_way_is_refused_at_once(tmp_path: Path) -> None:
    async with sandbox_here(tmp_path / "book", slow_seconds=2.0, max_in_flight=3) as sandbox:

        async def charge(number: int) -> int:
            body = ORDER | {"payment_method": "card_slow"}
            return (await ask(sandbox, "POST", "/v1/charges", body=body, key=f"k{number}"))[0]

        statuses = await asyncio.gather(*map(charge, range(8)))
        assert sorted(statuses) == [201] * 3 + [429] * 5
        assert await charge(0) == 200


FAULTS = {
    "failing": (FaultRates(failing=1.0), False),
    "dropped": (FaultRates(dropped=1.0), True),
    "slow": (FaultRates(slow=1.0), True),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_faults_at_random_harm_any_method(sandbox: Sandbox, name: str) -> None:
    rates, is_charged = FAULTS[name]
    assert (await ask(sandbox, "PUT", "/v1/faults", body=rates.model_dump()))[0] == 200
    wanted = order()
    with pytest.raises(ProviderAway):
        await sandbox.client.charge(wanted, Deadline.after(SLOW_SECONDS / 2))
    assert (await ask(sandbox, "PUT", "/v1/faults", body={}))[0] == 200
    found = await sandbox.client.find_charge(wanted.key, soon())
    assert (found is not None) is is_charged


def test_the_same_seed_gives_the_same_faults() -> None:
    def drawn(seed: int) -> list[object]:
        faults = Faults(FaultRates(slow=0.3, dropped=0.3, failing=0.3, duplicated=0.3, seed=seed))
        return [faults.draw() for _ in range(100)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


WEBHOOKS = {
    "credit_card": ["charge.succeeded"],
    "card_declined": ["charge.declined"],
    "card_pending": ["charge.pending", "charge.succeeded"],
    "card_webhooks_twice": ["charge.succeeded", "charge.succeeded"],
    "card_webhooks_shuffled": ["charge.succeeded", "charge.pending"],
}


@pytest.mark.parametrize("method", WEBHOOKS)
async def test_webhooks_report_the_outcome_of_a_charge(
    sandbox: Sandbox, webhooks: Receiver, method: str
) -> None:
    wanted = order(method)
    await sandbox.client.charge(wanted, soon())
    while await sandbox.webhooks.send_due():
        pass
    sandbox.clock.now += PENDING_SECONDS
    while await sandbox.webhooks.send_due():
        pass
    assert webhooks.types() == WEBHOOKS[method]
    events = [sandbox.client.read_event(*taken) for taken in webhooks.taken]
    assert {event and event.key for event in events} == {wanted.key}
    is_twice = method == "card_webhooks_twice"
    assert len({event and event.event_id for event in events}) == (1 if is_twice else len(events))


async def test_a_refund_is_announced_and_a_duplicating_fault_announces_it_twice(
    sandbox: Sandbox, webhooks: Receiver
) -> None:
    charge = await sandbox.client.charge(order(), soon())
    sandbox.faults.set(FaultRates(duplicated=1.0))
    await sandbox.client.refund(charge, "refund", soon())
    await sandbox.webhooks.send_due()
    assert webhooks.types() == ["charge.succeeded", "refund.created", "refund.created"]


async def test_a_webhook_that_is_not_taken_is_sent_again_and_given_up_in_the_end(
    sandbox: Sandbox, webhooks: Receiver
) -> None:
    await sandbox.client.charge(order(), soon())
    webhooks.refusals = 2
    for _ in range(3):
        assert await sandbox.webhooks.send_due() == 1
        assert await sandbox.webhooks.send_due() == 0
        sandbox.clock.now += PENDING_SECONDS
    assert webhooks.types() == ["charge.succeeded"]

    webhooks.refusals = 1000
    await sandbox.client.charge(order(), soon())
    attempts = 0
    while await sandbox.webhooks.send_due():
        attempts += 1
        sandbox.clock.now += PENDING_SECONDS
    assert attempts == 12
    assert len(webhooks.taken) == 1


async def test_due_webhooks_go_by_themselves(sandbox: Sandbox, webhooks: Receiver) -> None:
    sending = asyncio.create_task(sandbox.webhooks.run())
    await sandbox.client.charge(order(), soon())
    await until(lambda: webhooks.types() == ["charge.succeeded"])
    webhooks.refusals = 1
    await sandbox.client.charge(order(), soon())
    await until(lambda: not webhooks.refusals)
    sandbox.clock.now += 1
    await until(lambda: webhooks.types() == ["charge.succeeded"] * 2)
    sending.cancel()


def _code(answer: dict[str, Any]) -> object:
    return answer["error"]["code"]
