"""The gateway's application: exactly one response for each request.

Guarantees: every answer has an x-request-id, the security headers, and the state of its rate
limit. Every error is the JSON error of `gateway_http.errors`. An unknown exception is logged
with its traceback, and the client sees only the trace id. The number of requests in progress is
bounded, for all and for each caller; a request that has arrived whole is in progress once it has
its turn. A caller who is refused all the time waits for each refusal. Probes are exempt.
"""

import logging
from collections.abc import Callable, Mapping

from structlog.typing import FilteringBoundLogger

from gateway_http.edge.callers import Caller, Kind
from gateway_http.edge.edge import Edge
from gateway_http.edge.headers import authorization_of, ids_of
from gateway_http.edge.rate_limits.limiter import UNLIMITED, Admission
from gateway_http.errors import error_response
from gateway_http.exchange import (
    Endpoint,
    HeaderList,
    Headers,
    HttpRequest,
    LimitClass,
    Request,
    RequestIds,
    Response,
)
from gateway_http.pages.errors import shown_error
from gateway_http.transcoding.router import Router
from mesh.errors import Code, Internal, MeshError, ResourceExhausted, Unauthenticated

RETRY_AFTER_SECONDS = 1.0
TOO_MANY_REQUESTS = 429
UNREADABLE = HttpRequest("", "", "", Headers(()), client="", scheme="")


class Gateway:
    """Serves the routes of a router."""

    def __init__(
        self,
        router: Router,
        *,
        edge: Edge,
        max_in_flight: int,
        new_id: Callable[[], str],
        log: FilteringBoundLogger,
    ) -> None:
        """`new_id` returns 32 hexadecimal digits, unique each time."""
        self._router = router
        self._edge = edge
        self._max_in_flight = max_in_flight
        self._new_id = new_id
        self._log = log
        self._in_flight = 0

    async def answer(self, request: HttpRequest) -> Response:
        """Answers a complete request."""
        ids = ids_of(request.headers, self._new_id)
        admission = UNLIMITED
        caller: Caller | None = None
        try:
            endpoint, variables = self._endpoint(request)
            caller = self._edge.known_caller(endpoint.limit_class, request)
            if caller is None:
                caller = await self._edge.caller_of(endpoint.limit_class, request)
            authorization = (
                request.headers.get("authorization")  # it was checked when it was verified
                if caller.kind is Kind.PLAYER
                else authorization_of(request.headers)
            )
            routed = Request(request, variables, ids, caller.address, authorization)
            if endpoint.limit_class is LimitClass.UNLIMITED:
                response = await endpoint.answer(routed)
            else:
                turn = self._edge.turns.begin(caller)
                if turn is not None:
                    await turn
                admission = self._edge.admit(endpoint.limit_class, caller)
                response = await self._admitted(endpoint, routed, caller, admission)
        except MeshError as error:
            response = self._refused(error, request, ids)
        except Exception as error:  # noqa: BLE001 - the boundary of a request
            self._log.error("fail_request", exc_info=error, **ids.log_fields())
            response = error_response(Internal.of_trace(ids.trace_id), ids)
        if response.status == TOO_MANY_REQUESTS and caller is not None:
            await self._edge.hold_back(caller)
        return self._finished(request, response, ids, admission.headers)

    def refuse(self, error: MeshError) -> Response:
        """The answer to a request that could not be read."""
        ids = ids_of(UNREADABLE.headers, self._new_id)
        return self._finished(UNREADABLE, error_response(error, ids), ids, [])

    async def _admitted(
        self, endpoint: Endpoint, request: Request, caller: Caller, admission: Admission
    ) -> Response:
        """The route's response, if the gateway and the caller's limits have room for the
        request."""
        if admission.refusal is not None:
            raise admission.refusal
        if self._in_flight >= self._max_in_flight:
            raise ResourceExhausted(
                "The gateway has too many requests under way; try again in a moment.",
                reason="OVERLOADED",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            )
        self._edge.calls_in_flight.enter(caller)
        self._in_flight += 1
        try:
            return await endpoint.answer(request)
        except Unauthenticated:
            if caller.kind is Kind.UNVERIFIED:
                # It keeps its place meanwhile, so that guessing tokens occupies nobody else.
                await self._edge.hold_back(caller)
            raise
        finally:
            self._in_flight -= 1
            self._edge.calls_in_flight.leave(caller)

    def _endpoint(self, request: HttpRequest) -> tuple[Endpoint, Mapping[str, str]]:
        """The endpoint for the request (it may answer an error), and the variables of its path."""
        if request.method == "OPTIONS":
            return _Options(self._router, self._edge), {}
        try:
            target, variables = self._router.match(request.method, request.path)
        except MeshError as error:
            return _Refusal(error), {}
        return target.endpoint, variables

    def _finished(
        self, request: HttpRequest, response: Response, ids: RequestIds, limits: HeaderList
    ) -> Response:
        headers = [
            ("x-request-id", ids.request_id),
            *limits,
            *self._edge.response_headers.of(request, response),
            *response.headers,
        ]
        return Response(response.status, response.body, response.content_type, headers)

    def _refused(self, error: MeshError, request: HttpRequest, ids: RequestIds) -> Response:
        response = error_response(error, ids)
        if response.status >= 500:
            is_bug = error.code is Code.INTERNAL and error.__cause__ is not None
            self._log.log(
                logging.ERROR if is_bug else logging.WARNING,
                "fail_request" if is_bug else "refuse_request",
                exc_info=error.__cause__,
                **ids.log_fields(),
                method=request.method,
                path=request.path[:200],
                code=error.code.name,
                reason=error.reason,
            )
        if error.code in (Code.INTERNAL, Code.UNKNOWN):
            # The exception's text was not written for players.
            fault = Internal.of_trace(ids.trace_id)
            fault.metadata = error.metadata
            return error_response(fault, ids)
        return response


class _Options:
    """Answers OPTIONS: the verbs of a path, and the CORS preflight."""

    limit_class = LimitClass.ADDRESS

    def __init__(self, router: Router, edge: Edge) -> None:
        self._router = router
        self._edge = edge

    async def answer(self, request: Request) -> Response:
        path = request.received.path
        verbs = ", ".join(sorted({"OPTIONS"} if path == "*" else self._router.allowed(path)))
        preflight = self._edge.response_headers.preflight(request.received, verbs)
        return Response(204, b"", headers=[("allow", verbs), *preflight])


class _Refusal:
    """Answers a request without a route with an error, which browsers get as a page."""

    limit_class = LimitClass.ADDRESS

    def __init__(self, error: MeshError) -> None:
        self._error = error

    async def answer(self, request: Request) -> Response:
        return shown_error(self._error, request.headers, request.ids)
