"""The interpretation of Stripe's refunds and disputes: answers and events as documented."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from account_svc.adapters.payments.stripe import KEY, PAGE_SIZE, StripeProvider
from account_svc.domain.payments import BookedCharge, ChargeState, Period, ProviderAway
from account_svc.domain.reversals import Reversal, ReversalKind, ReversalState, ReversedCharge
from tests.unit.payments.running import WEBHOOK_SECRET, served, signature, soon

INTENT = {
    "id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount": 499,
    "currency": "usd", "latest_charge": None, "metadata": {KEY: "saga-1"},
}  # fmt: skip
DAY = Period(1_800_000_000, 1_800_086_400)


def refund(status: str | None, **more: object) -> dict[str, object]:
    return {
        "id": "re_1", "object": "refund", "status": status, "amount": 100,
        "charge": "ch_1", "payment_intent": "pi_1", "metadata": {}, **more,
    }  # fmt: skip


def dispute(status: str, **more: object) -> dict[str, object]:
    return {
        "id": "dp_1", "object": "dispute", "status": status, "amount": 499,
        "charge": "ch_1", "payment_intent": "pi_1", "metadata": {}, **more,
    }  # fmt: skip


def listed(*objects: object, has_more: bool = False) -> dict[str, object]:
    return {"object": "list", "data": list(objects), "has_more": has_more, "url": "/v1/of_the_test"}


class Stripe:
    """Answers each path with its JSON, in pages where there are several; records the queries."""

    def __init__(self, **answers: object) -> None:
        self.answers = {
            "payment_intents/pi_1": [INTENT],
            "payment_intents": [listed()],
            "refunds": [listed()],
            "disputes": [listed()],
        } | {name: [answer] for name, answer in answers.items()}
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/v1/")
        self.asked.append((path, dict(request.query)))
        answers = self.answers[path]
        body = answers.pop(0) if len(answers) > 1 else answers[0]
        status = 200 if body is not None else 502
        if isinstance(body, dict) and "error" in body:
            status = 404
        return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")

    @asynccontextmanager
    async def provider(self) -> AsyncIterator[StripeProvider]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.answer)
        async with served(application) as url:
            provider = StripeProvider(
                secret_key="sk_test_reversals", webhook_secret=WEBHOOK_SECRET, url=url
            )
            try:
                yield provider
            finally:
                await provider.close()


REFUNDS = {
    "succeeded": ReversalState.SETTLED,
    "pending": ReversalState.PENDING,
    "requires_action": ReversalState.PENDING,
    "failed": ReversalState.UNDONE,
    "canceled": ReversalState.UNDONE,
    None: ReversalState.PENDING,
}
DISPUTES = {
    "needs_response": ReversalState.PENDING,
    "under_review": ReversalState.PENDING,
    "lost": ReversalState.SETTLED,
    "won": ReversalState.UNDONE,
    "warning_needs_response": None,
    "warning_under_review": None,
    "warning_closed": None,
    "prevented": None,
}


@pytest.mark.parametrize("status", REFUNDS)
async def test_a_refunds_status_is_followed(status: str | None) -> None:
    stripe = Stripe(refunds=listed(refund(status)))
    async with stripe.provider() as provider:
        found = await provider.find_reversals("pi_1", soon())
    expected = Reversal(ReversalKind.REFUND, "re_1", "pi_1", 100, REFUNDS[status])
    assert found == ReversedCharge("saga-1", (expected,))
    asked = {"payment_intent": "pi_1", "limit": str(PAGE_SIZE)}
    assert stripe.asked[1:] == [("refunds", asked), ("disputes", asked)]


@pytest.mark.parametrize("status", DISPUTES)
async def test_a_disputes_status_is_followed_if_money_moved(status: str) -> None:
    async with Stripe(disputes=listed(dispute(status))).provider() as provider:
        found = await provider.find_reversals("pi_1", soon())
    state = DISPUTES[status]
    expected = () if state is None else (
        Reversal(ReversalKind.DISPUTE, "dp_1", "pi_1", 499, state),
    )  # fmt: skip
    assert found == ReversedCharge("saga-1", expected)


async def test_an_intent_that_stripe_does_not_know_is_none() -> None:
    error = {"error": {"type": "invalid_request_error", "code": "resource_missing"}}
    async with Stripe(**{"payment_intents/pi_1": error}).provider() as provider:
        assert await provider.find_reversals("pi_1", soon()) is None


async def test_lists_are_read_page_by_page() -> None:
    stripe = Stripe()
    stripe.answers["refunds"] = [
        listed(refund("succeeded"), has_more=True),
        listed(refund("succeeded", id="re_2", payment_intent=None)),
    ]
    stripe.answers["of_the_test"] = [listed(refund("failed", id="re_3"))]
    stripe.answers["disputes"] = [listed(dispute("lost"))]
    stripe.answers["payment_intents"] = [listed(INTENT, INTENT | {"id": "pi_2", "metadata": {}})]
    async with stripe.provider() as provider:
        reversals = [each async for each in provider.list_reversals(DAY)]
        charges = [each async for each in provider.list_charges(DAY)]
    assert [each.reversal_id for each in reversals] == ["re_1", "re_3", "dp_1"]
    assert charges == [BookedCharge("saga-1", "pi_1", ChargeState.SUCCEEDED, 499, "USD")]
    assert stripe.asked[0] == ("refunds", {
        "created[gte]": str(DAY.since), "created[lt]": str(DAY.until), "limit": str(PAGE_SIZE),
    })  # fmt: skip
    assert stripe.asked[1][1]["starting_after"] == "re_1"


async def test_all_refunds_and_disputes_of_a_charge_are_read_page_by_page() -> None:
    stripe = Stripe(
        refunds=listed(refund("succeeded"), has_more=True),
        disputes=listed(dispute("lost"), has_more=True),
    )
    further = [refund("failed", id="re_2")], [dispute("won", id="dp_2")]
    stripe.answers["of_the_test"] = [listed(*each) for each in further]
    async with stripe.provider() as provider:
        found = await provider.find_reversals("pi_1", soon())
    assert found is not None
    assert [each.reversal_id for each in found.reversals] == ["re_1", "re_2", "dp_1", "dp_2"]


async def test_a_charge_whose_list_breaks_off_has_unknown_reversals() -> None:
    stripe = Stripe(refunds=listed(refund("succeeded"), has_more=True), of_the_test=None)
    async with stripe.provider() as provider:
        with pytest.raises(ProviderAway):
            await provider.find_reversals("pi_1", soon())


async def test_a_list_that_breaks_off_is_a_provider_that_is_away() -> None:
    stripe = Stripe(refunds=listed(refund("succeeded"), has_more=True), of_the_test=None)
    async with stripe.provider() as provider:
        with pytest.raises(ProviderAway):
            _ = [each async for each in provider.list_reversals(DAY)]


CHARGE = {
    "id": "ch_1", "object": "charge", "refunded": True, "payment_intent": "pi_1",
    "metadata": {KEY: "saga-1"},
}  # fmt: skip
EVENTS: dict[str, tuple[str, dict[str, object], tuple[str, str] | None]] = {
    "charge.refunded": ("charge.refunded", CHARGE, ("saga-1", "pi_1")),
    "charge.succeeded": ("charge.succeeded", CHARGE, ("saga-1", "")),
    "a refund": ("refund.created", refund("pending"), ("", "pi_1")),
    "a refund that failed": ("refund.failed", refund("failed"), ("", "pi_1")),
    "a changed refund": ("charge.refund.updated", refund("failed"), ("", "pi_1")),
    "our own refund": (
        "refund.updated", refund("succeeded", metadata={KEY: "saga-1"}), ("saga-1", "pi_1"),
    ),
    "an expanded intent": ("refund.updated", refund("failed", payment_intent=INTENT), ("", "pi_1")),
    "a dispute": ("charge.dispute.created", dispute("needs_response"), ("", "pi_1")),
    "its money is gone": ("charge.dispute.funds_withdrawn", dispute("lost"), ("", "pi_1")),
    "its money is back": ("charge.dispute.funds_reinstated", dispute("won"), ("", "pi_1")),
    "a closed dispute": ("charge.dispute.closed", dispute("won"), ("", "pi_1")),
    "a refund of no intent": ("refund.created", refund("pending", payment_intent=None), None),
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
async def test_an_event_names_the_charge_that_was_reversed(name: str) -> None:
    kind, subject, expected = EVENTS[name]
    event = {"id": "evt_1", "object": "event", "type": kind, "data": {"object": subject}}
    body = orjson.dumps(event)
    async with Stripe().provider() as provider:
        read = provider.read_event(body, signature(body))
    assert (read and (read.key, read.reversed_charge_id)) == expected
