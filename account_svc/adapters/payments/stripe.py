"""Stripe as a provider, on its official package.

A charge is a PaymentIntent that is confirmed when it is created. It has our key twice:

- As Stripe's idempotency key. A repeated `charge` returns the first outcome again, also a
  failure, for at least 24 hours. After that Stripe may forget the key, and would charge again.
- As metadata, which can be searched without a time limit. The search is eventually consistent:
  it may miss charges of the last minute, or of the last hour on a bad day.

So None from `find_charge` soon after a charge means "charge again with the same key". Together
they leave no gap, as long as a key from yesterday is searched before it is charged again.
Sources: docs.stripe.com/api/idempotent_requests and /api/payment_intents/search.

The player cannot answer a bank's question here (3-D Secure), so a charge that needs an answer
is declined (`error_on_requires_action`). A live client sends the id from Stripe.js (`pm_...`)
as the payment method. With a test key, the names used in development stand for Stripe's test
methods, see TEST_METHODS.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import aiohttp
import stripe
import structlog

from account_svc.adapters.payments.stripe_reversals import (
    dispute_of,
    present,
    refund_of,
    reversed_intent_id,
)
from account_svc.domain.payments import (
    MAX_CONNECTIONS,
    BadSignature,
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
from account_svc.domain.reversals import Reversal, ReversedCharge
from mesh.deadlines import Deadline
from mesh.errors import Internal, InvalidArgument, MeshError
from mesh.tls.outgoing import trusted_by_environment

STRIPE_URL = "https://api.stripe.com"
CALL_TIMEOUT_SECONDS = 30.0
SIGNATURE_HEADER = "Stripe-Signature"
PAGE_SIZE = 100
"""The most that Stripe lists at once."""
KEY = "gacha_mesh_key"
"""The metadata field that holds our key."""

TEST_METHODS = {
    "credit_card": "pm_card_visa",
    "debit_card": "pm_card_visa_debit",
    "card_declined": "pm_card_visa_chargeDeclined",
    "card_insufficient_funds": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "card_expired": "pm_card_chargeDeclinedExpiredCard",
}
"""Stripe's method for each payment method under a test key (docs.stripe.com/testing)."""

_METHOD_ID = re.compile(r"pm_[A-Za-z0-9_]{1,120}")
_SEARCHABLE = re.compile(r"[A-Za-z0-9-]{1,64}")
_EXPIRED = "expired_card"
_UNSUPPORTED_AMOUNTS = ("amount_too_small", "amount_too_large")

T = TypeVar("T")
Listed = TypeVar("Listed", bound=stripe.StripeObject)
log = structlog.get_logger()


class StripeProvider:
    """Create and close it inside the running loop."""

    name = "stripe"

    def __init__(self, *, secret_key: str, webhook_secret: str, url: str = STRIPE_URL) -> None:
        self._webhook_secret = webhook_secret
        self._is_test = "_test_" in secret_key
        self.payment_methods = (
            ("credit_card", "debit_card", "pm_...") if self._is_test else ("pm_...",)
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=trusted_by_environment())
        )
        self._client = stripe.StripeClient(
            secret_key,
            http_client=stripe.AIOHTTPClient(timeout=CALL_TIMEOUT_SECONDS, session=self._session),
            base_addresses={"api": url.rstrip("/")},
            # The saga already retries durably; a second layer of retries would hide its bounds.
            max_network_retries=0,
        )

    async def charge(self, order: ChargeOrder, deadline: Deadline) -> Charge:
        create = self._client.v1.payment_intents.create_async(
            {
                "amount": order.amount_minor,
                "currency": order.currency.lower(),
                "payment_method": self._method(order.payment_method),
                "confirm": True,
                "error_on_requires_action": True,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                "metadata": {KEY: order.key, "user_id": order.user_id},
                "expand": ["latest_charge"],
            },
            {"idempotency_key": order.key},
        )
        try:
            return _charge(order.key, await self._answer(create, deadline))
        except stripe.CardError as error:
            return _declined(order.key, error)
        except stripe.InvalidRequestError as error:
            if (error.param or "").startswith("payment_method"):
                raise UnsupportedPaymentMethod.of(
                    order.payment_method, self.payment_methods
                ) from error
            if error.code in _UNSUPPORTED_AMOUNTS:
                raise UnsupportedAmount.refused() from error
            raise _our_fault(error) from error

    async def find_charge(self, key: str, deadline: Deadline) -> Charge | None:
        assert _SEARCHABLE.fullmatch(key), "a key is a saga's id, which needs no quoting"
        search = self._client.v1.payment_intents.search_async(
            {"query": f"metadata['{KEY}']:'{key}'", "limit": 1, "expand": ["data.latest_charge"]}
        )
        try:
            found = await self._answer(search, deadline)
        except stripe.InvalidRequestError as error:
            raise _our_fault(error) from error
        return _charge(key, found.data[0]) if found.data else None

    async def refund(self, charge: Charge, key: str, deadline: Deadline) -> None:
        create = self._client.v1.refunds.create_async(
            {"payment_intent": charge.charge_id, "metadata": {KEY: charge.key}},
            {"idempotency_key": key},
        )
        try:
            await self._answer(create, deadline)
        except stripe.InvalidRequestError as error:
            if error.code != "charge_already_refunded":
                raise _our_fault(error) from error

    async def find_reversals(self, charge_id: str, deadline: Deadline) -> ReversedCharge | None:
        of_charge: Any = {"payment_intent": charge_id, "limit": PAGE_SIZE}
        api = self._client.v1
        try:
            intent = await self._answer(api.payment_intents.retrieve_async(charge_id), deadline)
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                return None
            raise _our_fault(error) from error
        refunds = self._all(api.refunds.list_async(of_charge), deadline)
        found = [refund_of(each) async for each in refunds]
        disputes = self._all(api.disputes.list_async(of_charge), deadline)
        found += [dispute_of(each) async for each in disputes]
        return ReversedCharge(_key_of(intent), tuple(present(found)))

    async def list_charges(self, period: Period) -> AsyncIterator[BookedCharge]:
        wanted: Any = {**_made_in(period), "expand": ["data.latest_charge"]}
        async for intent in self._all(self._client.v1.payment_intents.list_async(wanted)):
            if key := _key_of(intent):
                charge = _charge(key, intent)
                yield BookedCharge(
                    key, charge.charge_id, charge.state, intent.amount, intent.currency.upper()
                )

    async def list_reversals(self, period: Period) -> AsyncIterator[Reversal]:
        api, wanted = self._client.v1, _made_in(period)
        async for refund in self._all(api.refunds.list_async(wanted)):
            for reversal in present([refund_of(refund)]):
                yield reversal
        async for dispute in self._all(api.disputes.list_async(wanted)):
            for reversal in present([dispute_of(dispute)]):
                yield reversal

    def _check_signer(self, body: bytes, signature: str) -> None:
        """Whether it was signed with the secret of this endpoint, at any time. Raises
        BadSignature."""
        if not signature:
            raise BadSignature.missing(SIGNATURE_HEADER)
        if not signature.isascii():
            raise BadSignature.malformed(SIGNATURE_HEADER)
        try:
            stripe.WebhookSignature.verify_header(body, signature, self._webhook_secret)
        except stripe.SignatureVerificationError as error:
            raise BadSignature.of_another(SIGNATURE_HEADER) from error
        except UnicodeDecodeError as error:
            raise InvalidArgument("The webhook's body is not an event of Stripe.") from error

    def read_event(self, body: bytes, signature: str) -> PaymentEvent | None:
        self._check_signer(body, signature)
        try:
            event = self._client.construct_event(body, signature, self._webhook_secret)
            subject = event.data.object.to_dict()
            key = (subject.get("metadata") or {}).get(KEY)
            reversed_charge_id = reversed_intent_id(event, subject)
        except stripe.SignatureVerificationError as error:
            raise BadSignature.too_old(SIGNATURE_HEADER) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidArgument("The webhook's body is not an event of Stripe.") from error
        if not isinstance(key, str) and not reversed_charge_id:
            return None
        return PaymentEvent(event.id, key if isinstance(key, str) else "", reversed_charge_id)

    async def close(self) -> None:
        await self._session.close()

    def _method(self, payment_method: str) -> str:
        """Stripe's id of the method. Raises UnsupportedPaymentMethod."""
        if _METHOD_ID.fullmatch(payment_method):
            return payment_method
        if self._is_test and payment_method in TEST_METHODS:
            return TEST_METHODS[payment_method]
        raise UnsupportedPaymentMethod.of(payment_method, self.payment_methods)

    async def _all(
        self, first: Awaitable[stripe.ListObject[Listed]], deadline: Deadline | None = None
    ) -> AsyncIterator[Listed]:
        """Everything in a list, page by page. `deadline` is for all pages; without it each one
        has CALL_TIMEOUT_SECONDS. Raises ProviderAway, also in the middle."""
        answer: Awaitable[stripe.ListObject[Listed]] | None = first
        while answer is not None:
            try:
                page = await self._answer(answer, deadline or Deadline.after(CALL_TIMEOUT_SECONDS))
            except stripe.InvalidRequestError as error:
                raise _our_fault(error) from error
            for each in page.data:
                yield each
            answer = page.next_page_async() if page.has_more else None

    async def _answer(self, call: Awaitable[T], deadline: Deadline) -> T:
        """The answer. Passes CardError and InvalidRequestError on to the caller, and raises
        ProviderAway for errors that leave the charge's state unknown."""
        seconds = deadline.shortened_to(CALL_TIMEOUT_SECONDS).remaining_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await call
        except (stripe.AuthenticationError, stripe.PermissionError) as error:
            # An operator must replace the key; the request is correct.
            log.error("refuse_stripe_key", status=error.http_status, code=error.code)
            raise ProviderAway("Stripe refuses the key of this service.") from error
        except (stripe.CardError, stripe.InvalidRequestError):
            raise
        except stripe.IdempotencyError as error:
            raise _our_fault(error) from error
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
            raise ProviderAway("Stripe did not answer.") from error


def _charge(key: str, intent: stripe.PaymentIntent) -> Charge:
    """An intent that still requires a payment method was declined: it is confirmed only once."""
    latest = intent.latest_charge
    if isinstance(latest, stripe.Charge) and latest.refunded:
        return Charge(key, intent.id, ChargeState.REFUNDED)
    match intent.status:
        case "succeeded":
            return Charge(key, intent.id, ChargeState.SUCCEEDED)
        case "requires_payment_method" | "requires_action" | "canceled":
            # Stripe sets the code only for some errors.
            reason = _decline_reason(getattr(intent.last_payment_error, "code", None))
            return Charge(key, intent.id, ChargeState.DECLINED, reason)
        case _:
            return Charge(key, intent.id, ChargeState.PENDING)


def _key_of(intent: stripe.PaymentIntent) -> str:
    """Our key; empty for an intent of another user of the same account."""
    key = (intent.to_dict().get("metadata") or {}).get(KEY)
    return key if isinstance(key, str) else ""


def _made_in(period: Period) -> Any:
    return {"created": {"gte": period.since, "lt": period.until}, "limit": PAGE_SIZE}


def _declined(key: str, error: stripe.CardError) -> Charge:
    intent = error.error.payment_intent if error.error is not None else None
    charge_id = intent.id if intent is not None else ""
    return Charge(key, charge_id, ChargeState.DECLINED, _decline_reason(error.code))


def _decline_reason(code: str | None) -> str:
    return PaymentMethodExpired.REASON if code == _EXPIRED else PaymentDeclined.REASON


def _our_fault(error: stripe.StripeError) -> MeshError:
    return Internal(f"Stripe refused with {error.http_status} {error.code}: {error.user_message}")
