"""The payment sandbox as a provider, over its HTTP interface.

The sandbox names a charge by its key and keeps it permanently. So `find_charge` is always
current: None means that the sandbox never saw the key, unless a request with it is in flight.
"""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import orjson
from pydantic import BaseModel, ValidationError
from yarl import URL

from account_svc.adapters.payments.sandbox_messages import (
    ChargeMessage,
    ChargePage,
    EventMessage,
    RefusalMessage,
    ReversalPage,
    WholeCharge,
)
from account_svc.domain.payments import (
    MAX_CONNECTIONS,
    BadSignature,
    BookedCharge,
    Charge,
    ChargeOrder,
    PaymentEvent,
    Period,
    ProviderAway,
    UnsupportedPaymentMethod,
)
from account_svc.domain.reversals import Reversal, ReversedCharge
from mesh.deadlines import Deadline
from mesh.errors import Internal, InvalidArgument, MeshError
from mesh.tls.outgoing import trusted_by_environment

CALL_TIMEOUT_SECONDS = 10.0
SIGNATURE_HEADER = "Sandbox-Signature"
SIGNATURE_TOLERANCE_SECONDS = 300
MAX_ANSWER_BYTES = 1024 * 1024
PAGE_SIZE = 200

PageMessage = TypeVar("PageMessage", ChargePage, ReversalPage)


class SandboxProvider:
    """Create and close it inside the running loop."""

    name = "sandbox"
    payment_methods = ("credit_card", "debit_card", "paypal", "apple_pay", "google_pay")
    """Those that pay; the sandbox has more, which rehearse declines and faults."""

    def __init__(
        self,
        url: str,
        *,
        secret_key: str,
        webhook_secret: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` returns Unix seconds; it decides whether a webhook is too old."""
        self._url = url.rstrip("/")
        self._webhook_secret = webhook_secret.encode()
        self._clock = clock
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {secret_key}"},
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=trusted_by_environment()),
        )

    async def charge(self, order: ChargeOrder, deadline: Deadline) -> Charge:
        body = {
            "amount_minor": order.amount_minor,
            "currency": order.currency,
            "payment_method": order.payment_method,
            "customer": order.user_id,
        }
        status, answer = await self._call("POST", "/v1/charges", deadline, order.key, body)
        if status in (200, 201):
            return _read(ChargeMessage, answer).charge()
        refusal = _read(RefusalMessage, answer)
        if refusal.charge is not None:
            return refusal.charge.charge()
        if refusal.error.code == "payment_method_unsupported":
            raise UnsupportedPaymentMethod.of(order.payment_method, self.payment_methods)
        raise _refused(status, refusal)

    async def find_charge(self, key: str, deadline: Deadline) -> Charge | None:
        status, answer = await self._call("GET", f"/v1/charges/{quote(key, safe='')}", deadline)
        if status == 404:
            return None
        if status == 200:
            return _read(ChargeMessage, answer).charge()
        raise _refused(status, _read(RefusalMessage, answer))

    async def refund(self, charge: Charge, key: str, deadline: Deadline) -> None:
        path = f"/v1/charges/{quote(charge.charge_id, safe='')}/refund"
        status, answer = await self._call("POST", path, deadline, key)
        if status == 200:
            return
        refusal = _read(RefusalMessage, answer)
        if refusal.error.code != "charge_already_refunded":
            raise _refused(status, refusal)

    async def find_reversals(self, charge_id: str, deadline: Deadline) -> ReversedCharge | None:
        path = f"/v1/charges/{quote(charge_id, safe='')}"
        status, answer = await self._call("GET", path, deadline)
        if status == 404:
            return None
        if status != 200:
            raise _refused(status, _read(RefusalMessage, answer))
        charge = _read(WholeCharge, answer)
        return ReversedCharge(charge.key, tuple(charge.reversals()))

    async def list_charges(self, period: Period) -> AsyncIterator[BookedCharge]:
        async for page in self._pages(ChargePage, "/v1/charges", period):
            for charge in page.charges:
                yield charge.booked()

    async def list_reversals(self, period: Period) -> AsyncIterator[Reversal]:
        for path in ("/v1/refunds", "/v1/disputes"):
            async for page in self._pages(ReversalPage, path, period):
                for reversal in page.reversals():
                    yield reversal

    def read_event(self, body: bytes, signature: str) -> PaymentEvent | None:
        self._check_signature(body, signature)
        try:
            event = EventMessage.model_validate_json(body)
        except ValidationError:
            raise InvalidArgument("The webhook's body is not an event of the sandbox.") from None
        return event.event()

    async def close(self) -> None:
        await self._session.close()

    async def _pages(
        self, kind: type[PageMessage], path: str, period: Period
    ) -> AsyncIterator[PageMessage]:
        """All pages of a list. Raises ProviderAway, also in the middle."""
        after: int | None = 0
        while after is not None:
            query = f"?after={after}&limit={PAGE_SIZE}&since={period.since}&until={period.until}"
            deadline = Deadline.after(CALL_TIMEOUT_SECONDS)
            status, answer = await self._call("GET", path + query, deadline)
            if status != 200:
                raise _refused(status, _read(RefusalMessage, answer))
            page = _read(kind, answer)
            yield page
            after = page.next_after

    def _check_signature(self, body: bytes, signature: str) -> None:
        """The scheme of payment_sandbox.webhooks. Raises BadSignature."""
        if not signature:
            raise BadSignature.missing(SIGNATURE_HEADER)
        parts = [part.partition("=") for part in signature.split(",")]
        times = [value for name, _, value in parts if name == "t"]
        signed = [value for name, _, value in parts if name == "v1"]
        if not signed or len(times) != 1 or not times[0].isascii() or not times[0].isdigit():
            raise BadSignature.malformed(SIGNATURE_HEADER)
        message = times[0].encode() + b"." + body
        expected = hmac.new(self._webhook_secret, message, hashlib.sha256).hexdigest()
        if not any(hmac.compare_digest(expected.encode(), each.encode()) for each in signed):
            raise BadSignature.of_another(SIGNATURE_HEADER)
        if abs(self._clock() - int(times[0][:20])) > SIGNATURE_TOLERANCE_SECONDS:
            raise BadSignature.too_old(SIGNATURE_HEADER)

    async def _call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        key: str | None = None,
        body: dict[str, object] | None = None,
    ) -> tuple[int, bytes]:
        """The status and the body of the answer. Raises ProviderAway without an answer."""
        seconds = deadline.shortened_to(CALL_TIMEOUT_SECONDS).remaining_seconds()
        if seconds <= 0:
            raise ProviderAway("There was no time left to ask the payment provider.")
        try:
            async with self._session.request(
                method,
                URL(self._url + path, encoded=True),
                data=None if body is None else orjson.dumps(body),
                headers={} if key is None else {"Idempotency-Key": key},
                timeout=aiohttp.ClientTimeout(total=seconds),
                allow_redirects=False,
            ) as response:
                if (response.content_length or 0) > MAX_ANSWER_BYTES or response.status >= 500:
                    raise ProviderAway("The payment provider cannot answer now.")
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ProviderAway("The payment provider did not answer.") from error


Message = TypeVar("Message", bound=BaseModel)


def _read(kind: type[Message], answer: bytes) -> Message:
    """Raises ProviderAway when a proxy has answered instead of the sandbox."""
    try:
        return kind.model_validate_json(answer)
    except ValidationError as error:
        raise ProviderAway("The payment provider's answer cannot be read.") from error


def _refused(status: int, refusal: RefusalMessage) -> MeshError:
    """Maps errors that do not depend on this request to ProviderAway: an operator corrects a
    refused key, and too many requests pass with time. Any other refusal is our bug."""
    sentence = f"The payment provider refused with {status} {refusal.error.code}"
    if status in (401, 403, 429):
        return ProviderAway(f"{sentence}.")
    return Internal(f"{sentence}: {refusal.error.message}")
