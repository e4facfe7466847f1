"""The interpretation of Stripe's answers: scripted ones, as in its documentation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest
from aiohttp import web

from account_svc.adapters.payments.stripe import KEY, StripeProvider
from account_svc.domain.payments import (
    Charge,
    ChargeState,
    PaymentDeclined,
    PaymentMethodExpired,
    ProviderAway,
    UnsupportedAmount,
    UnsupportedPaymentMethod,
)
from mesh.errors import Internal
from tests.unit.payments.running import WEBHOOK_SECRET, order, served, signature, soon

TEST_KEY, LIVE_KEY = "sk_test_of_the_answers", "sk_live_of_the_answers"


@dataclass(slots=True)
class Script:
    """Answers every request with the same status and body, and records the requests."""

    status: int = 200
    body: object = None
    asked: list[tuple[str, str, dict[str, str], str | None]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        sent = request.query if request.method == "GET" else await request.post()
        asked = {name: str(value) for name, value in sent.items()}
        key = request.headers.get("Idempotency-Key")
        self.asked.append((request.method, request.path, asked, key))
        return web.Response(
            status=self.status, body=orjson.dumps(self.body), content_type="application/json"
        )


@asynccontextmanager
async def scripted(
    status: int = 200, body: object = None, secret_key: str = TEST_KEY
) -> AsyncIterator[tuple[StripeProvider, Script]]:
    script = Script(status, body)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", script.answer)
    async with served(application) as url:
        provider = StripeProvider(secret_key=secret_key, webhook_secret=WEBHOOK_SECRET, url=url)
        try:
            yield provider, script
        finally:
            await provider.close()


def intent(status: str, **more: object) -> dict[str, object]:
    unset = {"latest_charge": None, "last_payment_error": None}
    return {"id": "pi_1", "object": "payment_intent", "status": status, **unset, **more}


def error(kind: str, **more: object) -> dict[str, object]:
    return {"error": {"type": kind, "message": "as Stripe words it", **more}}


async def test_a_charge_carries_its_key_twice_and_asks_no_questions() -> None:
    async with scripted(body=intent("succeeded")) as (stripe, script):
        wanted = order("credit_card", key="saga-7", currency="EUR")
        charge = await stripe.charge(wanted, soon())
    assert charge == Charge("saga-7", "pi_1", ChargeState.SUCCEEDED)
    [(method, path, sent, key)] = script.asked
    assert (method, path, key) == ("POST", "/v1/payment_intents", "saga-7")
    expected = {
        "amount": "499",
        "currency": "eur",
        "payment_method": "pm_card_visa",
        "confirm": "true",
        "error_on_requires_action": "true",
        f"metadata[{KEY}]": "saga-7",
        "metadata[user_id]": wanted.user_id,
    }
    assert expected.items() <= sent.items()


@pytest.mark.parametrize(
    ("status", "more", "state", "reason"),
    [
        ("succeeded", {}, ChargeState.SUCCEEDED, ""),
        ("processing", {}, ChargeState.PENDING, ""),
        ("canceled", {}, ChargeState.DECLINED, PaymentDeclined.REASON),
        (
            "requires_payment_method",
            {"last_payment_error": {"code": "expired_card", "type": "card_error"}},
            ChargeState.DECLINED,
            PaymentMethodExpired.REASON,
        ),
        (
            "succeeded",
            {"latest_charge": {"id": "ch_1", "object": "charge", "refunded": True}},
            ChargeState.REFUNDED,
            "",
        ),
        (
            "succeeded",
            {"latest_charge": {"id": "ch_1", "object": "charge", "refunded": False}},
            ChargeState.SUCCEEDED,
            "",
        ),
    ],
)
async def test_the_state_of_an_intent_is_understood(
    status: str, more: dict[str, object], state: ChargeState, reason: str
) -> None:
    expected = Charge("saga-1", "pi_1", state, reason)
    async with scripted(body=intent(status, **more)) as (stripe, script):
        assert await stripe.charge(order(key="saga-1"), soon()) == expected
        script.body = {"object": "search_result", "data": [script.body], "has_more": False}
        assert await stripe.find_charge("saga-1", soon()) == expected
    assert script.asked[1][2]["query"] == f"metadata['{KEY}']:'saga-1'"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("card_declined", PaymentDeclined.REASON),
        ("authentication_required", PaymentDeclined.REASON),
        ("expired_card", PaymentMethodExpired.REASON),
    ],
)
async def test_a_card_error_is_a_declined_charge(code: str, reason: str) -> None:
    body = error("card_error", code=code, payment_intent=intent("requires_payment_method"))
    async with scripted(402, body) as (stripe, _):
        charge = await stripe.charge(order(key="saga-1"), soon())
    assert charge == Charge("saga-1", "pi_1", ChargeState.DECLINED, reason)


async def test_a_key_that_is_not_found_is_none() -> None:
    async with scripted(body={"object": "search_result", "data": []}) as (stripe, _):
        assert await stripe.find_charge("saga-1", soon()) is None


AWAY = {
    "a server error": (500, error("api_error")),
    "an overload": (503, error("api_error")),
    "too many requests": (429, error("invalid_request_error", code="rate_limit")),
    "a request with that key under way": (409, error("idempotency_key_in_use")),
    "a key that is no longer good": (401, error("invalid_request_error")),
    "a key that may not do that": (403, error("invalid_request_error")),
    "somebody between": (502, "<html>"),
}


@pytest.mark.parametrize("name", AWAY)
async def test_an_answer_without_the_charge_counts_as_provider_unavailable(name: str) -> None:
    async with scripted(*AWAY[name]) as (stripe, script):
        with pytest.raises(ProviderAway):
            await stripe.charge(order(), soon())
        with pytest.raises(ProviderAway):
            await stripe.find_charge("saga-1", soon())
        with pytest.raises(ProviderAway):
            await stripe.refund(Charge("k", "pi_1", ChargeState.SUCCEEDED), "r", soon())
    assert len(script.asked) == 3


async def test_a_method_that_stripe_does_not_know_is_unsupported() -> None:
    body = error("invalid_request_error", code="resource_missing", param="payment_method")
    async with scripted(400, body) as (stripe, _):
        with pytest.raises(UnsupportedPaymentMethod):
            await stripe.charge(order("pm_gone"), soon())


@pytest.mark.parametrize("code", ["amount_too_small", "amount_too_large"])
async def test_an_amount_that_stripe_does_not_take_is_unsupported(code: str) -> None:
    async with scripted(400, error("invalid_request_error", code=code, param="amount")) as (
        stripe,
        _,
    ):
        with pytest.raises(UnsupportedAmount):
            await stripe.charge(order(), soon())


async def test_an_id_of_stripe_passes_through_and_a_name_of_development_needs_a_test_key() -> None:
    async with scripted(body=intent("succeeded"), secret_key=LIVE_KEY) as (stripe, script):
        await stripe.charge(order("pm_1MtwBwLkdIwHu7ix28a3tqPa"), soon())
        for method in ("credit_card", "card_declined", "pm_", "pm_'or 1", "pi_1"):
            with pytest.raises(UnsupportedPaymentMethod):
                await stripe.charge(order(method), soon())
    assert [asked[2]["payment_method"] for asked in script.asked] == ["pm_1MtwBwLkdIwHu7ix28a3tqPa"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error("invalid_request_error", param="amount")),
        (400, error("idempotency_error")),
    ],
)
async def test_a_request_that_we_should_not_have_sent_is_our_bug(status: int, body: object) -> None:
    async with scripted(status, body) as (stripe, _):
        with pytest.raises(Internal):
            await stripe.charge(order(), soon())


async def test_a_refund_names_the_intent_and_one_that_was_made_is_success() -> None:
    charge = Charge("saga-1", "pi_1", ChargeState.SUCCEEDED)
    async with scripted(body={"id": "re_1", "object": "refund"}) as (stripe, script):
        await stripe.refund(charge, "refund-1", soon())
        script.status, script.body = (
            400,
            error("invalid_request_error", code="charge_already_refunded"),
        )
        await stripe.refund(charge, "refund-2", soon())
        script.body = error("invalid_request_error", code="charge_disputed")
        with pytest.raises(Internal):
            await stripe.refund(charge, "refund-3", soon())
    assert script.asked[0][1:] == (
        "/v1/refunds",
        {"payment_intent": "pi_1", f"metadata[{KEY}]": "saga-1"},
        "refund-1",
    )


async def test_an_event_about_something_else_is_none() -> None:
    body = orjson.dumps(
        {"id": "evt_1", "object": "event", "type": "customer.created",
         "data": {"object": {"id": "cus_1", "object": "customer", "metadata": {}}}}
    )  # fmt: skip
    async with scripted() as (stripe, _):
        assert stripe.read_event(body, signature(body)) is None
