"""Refunds and disputes of the sandbox, as its client in account_svc reads them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from account_svc.domain.payments import Charge, ChargeState, Period
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState
from tests.unit.payments.running import (
    Receiver,
    Sandbox,
    ask,
    order,
    receiver,
    sandbox_here,
    soon,
)

ALWAYS = Period(0, 2**53)


@pytest.fixture
async def webhooks() -> AsyncIterator[Receiver]:
    async with receiver() as taker:
        yield taker


@pytest.fixture
async def sandbox(tmp_path: Path, webhooks: Receiver) -> AsyncIterator[Sandbox]:
    async with sandbox_here(tmp_path / "book.sqlite3", webhooks.url) as here:
        yield here


@pytest.fixture
async def charge(sandbox: Sandbox) -> Charge:
    """Of 499 minor units."""
    return await sandbox.client.charge(order(key="saga-of-the-test"), soon())


async def post(sandbox: Sandbox, path: str, key: str | None = None, **body: object) -> Any:
    """The answer of a call that must succeed."""
    status, answer = await ask(sandbox, "POST", f"/v1/{path}", body=body, key=key)
    assert status == 200, answer
    return answer


async def seen(sandbox: Sandbox, charge: Charge) -> list[tuple[str, int, ReversalState]]:
    """What account_svc sees, and that the lists say the same."""
    found = await sandbox.client.find_reversals(charge.charge_id, soon())
    assert found is not None
    assert found.key == charge.key
    listed = [each async for each in sandbox.client.list_reversals(ALWAYS)]
    assert sorted(listed, key=repr) == sorted(found.reversals, key=repr)
    return [(each.kind, each.amount_minor, each.state) for each in found.reversals]


async def test_a_charge_is_refunded_in_parts_and_is_refunded_when_nothing_is_left(
    sandbox: Sandbox, charge: Charge
) -> None:
    path = f"charges/{charge.key}/refund"
    first = await post(sandbox, path, "r1", amount_minor=100)
    assert first["state"] == "succeeded"
    assert await post(sandbox, path, "r1", amount_minor=100) == first
    rest = await post(sandbox, path, "r2")
    assert (rest["state"], [each["amount_minor"] for each in rest["refunds"]]) == (
        *("refunded", [100, 399]),
    )
    assert await seen(sandbox, charge) == [
        ("refund", 100, ReversalState.SETTLED),
        ("refund", 399, ReversalState.SETTLED),
    ]


@pytest.mark.parametrize(
    ("key", "body", "status", "code"),
    [
        ("r1", {"amount_minor": 101}, 422, "idempotency_key_reused"),
        ("r2", {"amount_minor": 400}, 400, "invalid_request"),
        ("r2", {"amount_minor": 0}, 400, "invalid_request"),
        ("r2", {"status": "failed"}, 400, "invalid_request"),
        ("r2", {"status": "lost"}, 400, "invalid_request"),
        ("", {}, 400, "invalid_request"),
    ],
)
async def test_a_wrong_refund_is_refused(
    sandbox: Sandbox, charge: Charge, key: str, body: dict[str, object], status: int, code: str
) -> None:
    path = f"/v1/charges/{charge.charge_id}/refund"
    await ask(sandbox, "POST", path, body={"amount_minor": 100}, key="r1")
    answer = await ask(sandbox, "POST", path, body=body, key=key)
    assert (answer[0], answer[1]["error"]["code"]) == (status, code)
    assert await seen(sandbox, charge) == [("refund", 100, ReversalState.SETTLED)]


async def test_a_pending_refund_that_fails_leaves_the_charge_as_it_was(
    sandbox: Sandbox, charge: Charge, webhooks: Receiver
) -> None:
    made = await post(sandbox, f"charges/{charge.key}/refund", "r1", status="pending")
    assert made["state"] == "refunded"
    refund_id = made["refunds"][0]["id"]
    assert await seen(sandbox, charge) == [("refund", 499, ReversalState.PENDING)]
    for _ in range(2):
        moved = await post(sandbox, f"refunds/{refund_id}", status="failed")
        assert moved["state"] == "succeeded"
    assert await seen(sandbox, charge) == [("refund", 499, ReversalState.UNDONE)]
    status, answer = await ask(
        sandbox, "POST", f"/v1/refunds/{refund_id}", body={"status": "succeeded"}
    )
    assert (status, answer["error"]["code"]) == (409, "reversal_not_possible")
    await sandbox.webhooks.send_due()
    assert webhooks.types() == ["charge.succeeded", "refund.created", "refund.updated"]


@pytest.mark.parametrize(
    ("outcome", "state"), [("won", ReversalState.UNDONE), ("lost", ReversalState.SETTLED)]
)
async def test_a_dispute_is_opened_and_closed(
    sandbox: Sandbox, charge: Charge, webhooks: Receiver, outcome: str, state: ReversalState
) -> None:
    made = await post(sandbox, f"charges/{charge.key}/dispute", "d1")
    assert await seen(sandbox, charge) == [("dispute", 499, ReversalState.PENDING)]
    await post(sandbox, f"disputes/{made['disputes'][0]['id']}", status=outcome)
    assert await seen(sandbox, charge) == [("dispute", 499, state)]
    await sandbox.webhooks.send_due()
    assert webhooks.types() == ["charge.succeeded", "dispute.created", "dispute.closed"]
    events = [sandbox.client.read_event(*taken) for taken in webhooks.taken]
    assert [event and (event.key, event.reversed_charge_id) for event in events] == [
        (charge.key, ""),
        (charge.key, charge.charge_id),
        (charge.key, charge.charge_id),
    ]
    found = await sandbox.client.find_charge(charge.key, soon())
    assert found is not None
    assert found.state is ChargeState.SUCCEEDED


async def test_an_unknown_reversal_and_an_unknown_charge_are_not_found(
    sandbox: Sandbox, charge: Charge
) -> None:
    made = await post(sandbox, f"charges/{charge.key}/dispute", "d1")
    for path in ("refunds/re_nobody", f"refunds/{made['disputes'][0]['id']}"):
        status, _ = await ask(sandbox, "POST", f"/v1/{path}", body={"status": "failed"})
        assert status == 404
    assert (await ask(sandbox, "POST", "/v1/charges/nobody/dispute", key="d2"))[0] == 404
    assert await sandbox.client.find_reversals("nobody", soon()) is None


async def test_lists_are_of_a_period_and_of_a_charge(sandbox: Sandbox, charge: Charge) -> None:
    other = await sandbox.client.charge(order(key="saga-2"), soon())
    await sandbox.client.refund(charge, "r1", soon())
    sandbox.clock.now += 100
    await sandbox.client.refund(other, "r2", soon())
    now = int(sandbox.clock.now)
    late = [each async for each in sandbox.client.list_reversals(Period(now - 50, now + 1))]
    assert [each.charge_id for each in late] == [other.charge_id]
    assert late == [
        Reversal(
            ReversalKind.REFUND, late[0].reversal_id, other.charge_id, 499, ReversalState.SETTLED
        )
    ]
    _, page = await ask(sandbox, "GET", f"/v1/refunds?charge={charge.charge_id}&limit=1")
    assert ([each["key"] for each in page["refunds"]], page["next_after"]) == (["r1"], None)
    assert [each async for each in sandbox.client.list_charges(Period(now, now + 1))] == []
    keys = [each.key async for each in sandbox.client.list_charges(ALWAYS)]
    assert keys == [charge.key, other.key]


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("refund", {}),
        ("refund", {"amount_minor": 100}),
        ("refund", {"status": "pending"}),
        ("dispute", {}),
        ("dispute", {"amount_minor": 100}),
    ],
    ids=str,
)
async def test_concurrent_repeats_make_one_reversal_and_get_one_answer(
    sandbox: Sandbox, what: str, body: dict[str, object]
) -> None:
    for round_number in range(5):
        charge = await sandbox.client.charge(order(), soon())
        path, key = f"/v1/charges/{charge.charge_id}/{what}", f"key-{round_number}"
        answers = await asyncio.gather(
            *(ask(sandbox, "POST", path, body=body, key=key) for _ in range(8))
        )
        assert [status for status, _ in answers] == [200] * 8
        assert all(answer == answers[0] for answer in answers)
        assert len(await seen_of(sandbox, charge)) == 1


async def test_of_concurrent_whole_refunds_with_different_keys_one_is_made(
    sandbox: Sandbox, charge: Charge
) -> None:
    path = f"/v1/charges/{charge.charge_id}/refund"
    answers = await asyncio.gather(
        *(ask(sandbox, "POST", path, body={}, key=f"key-{number}") for number in range(8))
    )
    assert sorted(status for status, _ in answers) == [200] + [409] * 7
    assert len(await seen_of(sandbox, charge)) == 1


async def seen_of(sandbox: Sandbox, charge: Charge) -> tuple[Reversal, ...]:
    found = await sandbox.client.find_reversals(charge.charge_id, soon())
    assert found is not None
    return found.reversals
