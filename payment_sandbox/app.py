"""The sandbox over HTTP.

    POST /v1/charges               makes a charge; Idempotency-Key; 201, 200 when repeated, 402
                                   with the charge when it was declined
    GET  /v1/charges/{key}         the charge of an idempotency key
    POST /v1/charges/{id}/refund   refunds it; Idempotency-Key
    GET  /v1/charges               all charges with their refunds; ?after=NUMBER&limit=COUNT
    GET, PUT /v1/faults            random faults: see payment_sandbox.faults
    GET  /healthz                  200 when the book can be read and written; needs no key

Every other call needs `Authorization: Bearer KEY`. Errors are {"error": {"code",
"message"}}. Bodies and the number of requests in flight are bounded.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from payment_sandbox.domain import (
    BEHAVIOURS,
    MAX_AMOUNT_MINOR,
    MAX_PAGE_SIZE,
    MAX_TEXT_LENGTH,
    Away,
    BadKey,
    BadRequest,
    BookUnavailable,
    Charge,
    ChargeState,
    Order,
    SandboxError,
    TooManyRequests,
)
from payment_sandbox.faults import Fault, FaultRates, Faults
from payment_sandbox.messages import Json, charge_json
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


class PageQuery(BaseModel):
    """The query of GET /v1/charges."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, lt=2**63)
    limit: int = Field(100, ge=1, le=MAX_PAGE_SIZE)


Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SandboxApp:
    """The handlers, over one provider."""

    def __init__(
        self,
        provider: Provider,
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
                web.get("/v1/charges/{key}", self._find),
                web.post("/v1/charges/{charge_id}/refund", self._refund),
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
            return _refusal(error.STATUS, error.CODE, error.message)
        except SandboxError as error:
            return _refusal(error.STATUS, error.CODE, error.message)
        except web.HTTPException as error:
            return _refusal(error.status, "invalid_request", error.reason)
        except Exception as error:
            log.error("fail_request", path=request.path, exc_info=error)
            return _refusal(500, "api_error", "Something went wrong at the sandbox.")
        finally:
            self._in_flight -= 1

    def _check_key(self, request: web.Request) -> None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        sent = key.strip().encode(errors="replace")
        if scheme.lower() != "bearer" or not hmac.compare_digest(sent, self._secret_key):
            raise BadKey

    async def _charge(self, request: web.Request) -> web.Response:
        body = await _body(request, OrderBody)
        order = Order(body.amount_minor, body.currency, body.payment_method, body.customer)
        fault = self._draw_fault()
        charge, is_new = await self._provider.charge(
            _key(request), order, webhook_copies=2 if fault.duplicated else 1
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
            return _refusal(402, charge.decline_code, message, charge=shown)
        return _json(shown, status=201 if is_new else 200)

    async def _find(self, request: web.Request) -> web.Response:
        fault = self._draw_fault()
        charge = await self._provider.find(request.match_info["key"])
        await self._harm(request, is_slow=fault.slow, is_dropped=fault.dropped)
        return _json(self._shown(charge))

    async def _refund(self, request: web.Request) -> web.Response:
        fault = self._draw_fault()
        charge = await self._provider.refund(
            request.match_info["charge_id"],
            _key(request),
            webhook_copies=2 if fault.duplicated else 1,
        )
        await self._harm(request, is_slow=fault.slow, is_dropped=fault.dropped)
        return _json(self._shown(charge))

    async def _list(self, request: web.Request) -> web.Response:
        query = _validated(PageQuery, dict(request.query))
        charges, has_more = await self._provider.page(query.after, query.limit)
        shown = [self._shown(charge) for charge in charges]
        next_after = charges[-1].number if has_more else None
        return _json({"charges": shown, "next_after": next_after})

    async def _show_faults(self, request: web.Request) -> web.Response:
        return _json(self._faults.rates.model_dump())

    async def _set_faults(self, request: web.Request) -> web.Response:
        self._faults.set(await _body(request, FaultRates))
        log.info("set_faults", **self._faults.rates.model_dump())
        return _json(self._faults.rates.model_dump())

    async def _health(self, request: web.Request) -> web.Response:
        await self._provider.check()
        return _json({"status": "ok"})

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


def _key(request: web.Request) -> str:
    return request.headers.get("Idempotency-Key", "")


async def _body(request: web.Request, kind: type[Body]) -> Body:
    raw = await request.read()
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise _bad_request(error) from None


def _validated(kind: type[Body], values: dict[str, str]) -> Body:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _bad_request(error) from None


def _bad_request(error: ValidationError) -> BadRequest:
    """Every fault, with the field's name."""
    return BadRequest(
        "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}"
            for fault in error.errors()
        )
    )


def _json(body: Json, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def _refusal(status: int, code: str, message: str, **more: object) -> web.Response:
    return _json({"error": {"code": code, "message": message}, **more}, status)
