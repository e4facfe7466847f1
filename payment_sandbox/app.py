"""The sandbox over HTTP.

    POST /v1/charges               makes a charge; Idempotency-Key; 201, 200 when repeated, 402
                                   with the charge when it was declined
    GET  /v1/charges/{id or key}   a charge; its key is the Idempotency-Key that made it
    GET  /v1/charges               all charges with their refunds and disputes, in pages:
                                   ?after=NUMBER&limit=COUNT&since=SECONDS&until=SECONDS
    GET, PUT /v1/faults            random faults: see payment_sandbox.faults
    GET  /healthz                  200 when the book can be read and written; needs no key

Refunds and disputes: payment_sandbox.reversal_routes. Every other call needs
`Authorization: Bearer KEY`. Errors are {"error": {"code", "message"}}. Bodies and the number of
requests in flight are bounded.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from payment_sandbox.domain import (
    BEHAVIOURS,
    MAX_AMOUNT_MINOR,
    MAX_TEXT_LENGTH,
    Away,
    BadKey,
    BookUnavailable,
    Charge,
    ChargeState,
    Order,
    SandboxError,
    TooManyRequests,
)
from payment_sandbox.faults import Fault, FaultRates, Faults
from payment_sandbox.messages import Json, charge_json
from payment_sandbox.requests import (
    PageQuery,
    answer_json,
    answer_refusal,
    idempotency_key,
    read_body,
    read_query,
)
from payment_sandbox.reversal_routes import ReversalRoutes, Work
from payment_sandbox.reversals import Reversals
from payment_sandbox.use_cases import Pace, Provider

MAX_BODY_BYTES = 16 * 1024
MAX_IN_FLIGHT = 256
log = structlog.get_logger()


class OrderBody(BaseModel):
    """The body of POST /v1/charges."""

    model_config = ConfigDict(extra="forbid", strict=True)

    amount_minor: int = Field(ge=1, le=MAX_AMOUNT_MINOR)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    payment_method: str = Field(min_length=1, max_length=MAX_TEXT_LENGTH)
    customer: str = Field(min_length=1, max_length=MAX_TEXT_LENGTH)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SandboxApp:
    """The handlers, over one provider and its reversals."""

    def __init__(
        self,
        provider: Provider,
        reversals: Reversals,
        faults: Faults,
        pace: Pace,
        *,
        secret_key: str,
        clock: Callable[[], float],
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        """`clock` gives Unix seconds."""
        self._max_in_flight = max_in_flight
        self._provider = provider
        self._reversals = reversals
        self._faults = faults
        self._pace = pace
        self._secret_key = secret_key.encode()
        self._clock = clock
        self._in_flight = 0

    def build(self) -> web.Application:
        """The application, ready to run."""

        @web.middleware
        async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._handle(request, handler)

        application = web.Application(middlewares=[handle], client_max_size=MAX_BODY_BYTES)
        application.add_routes(
            [
                web.post("/v1/charges", self._charge),
                web.get("/v1/charges", self._list),
                web.get("/v1/charges/{name}", self._find),
                *ReversalRoutes(self._reversals, self._reverse).routes(),
                web.get("/v1/faults", self._show_faults),
                web.put("/v1/faults", self._set_faults),
                web.get("/healthz", self._health),
            ]
        )
        return application

    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Bounds the requests in flight, checks the key, and answers errors as JSON."""
        self._in_flight += 1
        try:
            if self._in_flight > self._max_in_flight:
                raise TooManyRequests
            if request.path != "/healthz":
                self._check_key(request)
            return await handler(request)
        except BookUnavailable as error:
            log.error("fail_request", path=request.path, message=error.message)
            return answer_refusal(error.STATUS, error.CODE, error.message)
        except SandboxError as error:
            return answer_refusal(error.STATUS, error.CODE, error.message)
        except web.HTTPException as error:
            return answer_refusal(error.status, "invalid_request", error.reason)
        except Exception as error:
            log.error("fail_request", path=request.path, exc_info=error)
            return answer_refusal(500, "api_error", "Something went wrong at the sandbox.")
        finally:
            self._in_flight -= 1

    def _check_key(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        sent = key.strip().encode(errors="replace")
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent, self._secret_key):
            raise BadKey

    async def _charge(self, request: web.Request) -> web.Response:
        body = await read_body(request, OrderBody)
        order = Order(body.amount_minor, body.currency, body.payment_method, body.customer)
        fault = self._draw_fault()
        charge, is_new = await self._provider.charge(
            idempotency_key(request), order, webhook_copies=2 if fault.duplicated else 1
        )
        behaviour = BEHAVIOURS[order.payment_method]
        await self._harm(
            request,
            is_slow=fault.slow or (is_new and behaviour.is_slow),
            is_dropped=fault.dropped or (is_new and behaviour.drops_reply),
        )
        shown = self._shown(charge)
        if charge.state(self._clock()) is ChargeState.DECLINED:
            message = f"The payment method was declined: {charge.decline_code}."
            return answer_refusal(402, charge.decline_code, message, charge=shown)
        return answer_json(shown, status=201 if is_new else 200)

    async def _find(self, request: web.Request) -> web.Response:
        fault = self._draw_fault()
        charge = await self._provider.find(request.match_info["name"])
        await self._harm(request, is_slow=fault.slow, is_dropped=fault.dropped)
        return answer_json(self._shown(charge))

    async def _reverse(self, request: web.Request, work: Work) -> web.Response:
        fault = self._draw_fault()
        charge = await work(fault)
        await self._harm(request, is_slow=fault.slow, is_dropped=fault.dropped)
        return answer_json(self._shown(charge))

    async def _list(self, request: web.Request) -> web.Response:
        charges, has_more = await self._provider.page(read_query(request, PageQuery).page())
        shown = [self._shown(charge) for charge in charges]
        next_after = charges[-1].number if has_more else None
        return answer_json({"charges": shown, "next_after": next_after})

    async def _show_faults(self, request: web.Request) -> web.Response:
        return answer_json(self._faults.rates.model_dump())

    async def _set_faults(self, request: web.Request) -> web.Response:
        self._faults.set(await read_body(request, FaultRates))
        log.info("set_faults", **self._faults.rates.model_dump())
        return answer_json(self._faults.rates.model_dump())

    async def _health(self, request: web.Request) -> web.Response:
        await self._provider.check()
        return answer_json({"status": "ok"})

    def _draw_fault(self) -> Fault:
        """The fault of this request. Raises Away if the fault is a failure."""
        fault = self._faults.draw()
        if fault.failing:
            raise Away
        return fault

    async def _harm(self, request: web.Request, *, is_slow: bool, is_dropped: bool) -> None:
        """Delays or drops the answer, after the work is done."""
        if is_slow:
            await asyncio.sleep(self._pace.slow_seconds)
        if is_dropped and request.transport is not None:
            # The connection is closed, so the answer is discarded.
            request.transport.abort()

    def _shown(self, charge: Charge) -> Json:
        return charge_json(charge, charge.state(self._clock()))
