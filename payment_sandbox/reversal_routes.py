"""The handlers of refunds and disputes.

    POST /v1/charges/{id or key}/refund    {"amount_minor", "status"}: refunds what is left, or
                                           that much; "succeeded" at once, or "pending"
    POST /v1/charges/{id or key}/dispute   {"amount_minor"}: the customer's bank takes it back
    POST /v1/refunds/{id}                  {"status": "succeeded" or "failed"}
    POST /v1/disputes/{id}                 {"status": "won" or "lost"}
    GET  /v1/refunds, /v1/disputes         in pages; ?charge=ID&after=NUMBER&limit=COUNT
                                           &since=SECONDS&until=SECONDS

Every field is optional except the status of the third and fourth. The first two need an
Idempotency-Key. All POSTs answer with the charge.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from payment_sandbox.domain import MAX_AMOUNT_MINOR, Charge
from payment_sandbox.faults import Fault
from payment_sandbox.messages import reversal_json
from payment_sandbox.requests import (
    PageQuery,
    answer_json,
    idempotency_key,
    read_body,
    read_query,
)
from payment_sandbox.reversal import ReversalKind, ReversalStatus
from payment_sandbox.reversals import Reversals


class ReversalBody(BaseModel):
    """The body of a new refund or dispute."""

    model_config = ConfigDict(extra="forbid")

    amount_minor: int | None = Field(None, strict=True, ge=1, le=MAX_AMOUNT_MINOR)
    status: ReversalStatus | None = None


class MoveBody(BaseModel):
    """The body that moves a refund or dispute."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["succeeded", "failed", "won", "lost"]


class ReversalQuery(PageQuery):
    """The query of the lists."""

    charge: str | None = None


Work = Callable[[Fault], Awaitable[Charge]]
Answer = Callable[[web.Request, Work], Awaitable[web.Response]]
"""Draws the faults of a request, does the work, and answers with the charge."""


class ReversalRoutes:
    """Over one provider's reversals."""

    def __init__(self, reversals: Reversals, answer: Answer) -> None:
        self._reversals = reversals
        self._answer = answer

    def routes(self) -> Iterable[web.RouteDef]:
        for kind in ReversalKind:
            yield web.post(f"/v1/charges/{{name}}/{kind}", self._making(kind))
            yield web.post(f"/v1/{kind}s/{{reversal_id}}", self._moving(kind))
            yield web.get(f"/v1/{kind}s", self._listing(kind))

    def _making(self, kind: ReversalKind) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def make(request: web.Request) -> web.Response:
            body = await read_body(request, ReversalBody)
            return await self._answer(
                request,
                lambda fault: self._reversals.make(
                    kind,
                    request.match_info["name"],
                    idempotency_key(request),
                    amount_minor=body.amount_minor,
                    status=body.status,
                    webhook_copies=2 if fault.duplicated else 1,
                ),
            )

        return make

    def _moving(self, kind: ReversalKind) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def move(request: web.Request) -> web.Response:
            body = await read_body(request, MoveBody)
            return await self._answer(
                request,
                lambda fault: self._reversals.move(
                    kind,
                    request.match_info["reversal_id"],
                    ReversalStatus(body.status),
                    webhook_copies=2 if fault.duplicated else 1,
                ),
            )

        return move

    def _listing(self, kind: ReversalKind) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def show(request: web.Request) -> web.Response:
            query = read_query(request, ReversalQuery)
            found, has_more = await self._reversals.page(kind, query.page(), query.charge)
            next_after = found[-1].number if has_more else None
            shown = [reversal_json(each) for each in found]
            return answer_json({f"{kind}s": shown, "next_after": next_after})

        return show
