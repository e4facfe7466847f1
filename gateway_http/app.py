"""The RSGI application: one request in, one response out, whatever happens.

Guarantees: every answer has an x-request-id, a content-length, the security headers, and
the state of the limit that it fell under; every error is the JSON error of
`gateway_http.errors`; an unknown exception is logged with its traceback and the client
sees the trace id alone; bodies and the number of requests under way are bounded. A
gateway that is leaving closes each HTTP/1 connection after its next answer, so that
clients go elsewhere of themselves. Source: the RSGI specification 1.5 of granian.
"""

import logging
from collections.abc import Callable

from granian.rsgi import ProtocolClosed, ProtocolError  # type: ignore[attr-defined]
from structlog.typing import FilteringBoundLogger

from gateway_http.edge.edge import Edge
from gateway_http.edge.headers import ids_of
from gateway_http.errors import error_response
from gateway_http.exchange import HeaderList, LimitClass, Request, RequestIds, Response
from gateway_http.listening.bodies import Body
from gateway_http.listening.rsgi import HTTPProtocol, Scope
from gateway_http.transcoding.router import Router
from mesh.errors import Cancelled, Code, Internal, MeshError, ResourceExhausted

RETRY_AFTER_SECONDS = 1.0


class Gateway:
    """Serves the routes of a router."""

    def __init__(
        self,
        router: Router,
        *,
        edge: Edge,
        is_leaving: Callable[[], bool],
        max_body_bytes: int,
        max_in_flight: int,
        new_id: Callable[[], str],
        log: FilteringBoundLogger,
    ) -> None:
        """`new_id` gives 32 hexadecimal digits, never the same twice."""
        self._router = router
        self._edge = edge
        self._is_leaving = is_leaving
        self._max_body_bytes = max_body_bytes
        self._max_in_flight = max_in_flight
        self._new_id = new_id
        self._log = log
        self._in_flight = 0

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answers one request."""
        ids = ids_of(scope.headers, self._new_id)
        headers: HeaderList = [("x-request-id", ids.request_id)]
        body = Body(scope, protocol, self._max_body_bytes)
        self._in_flight += 1
        try:
            if self._in_flight > self._max_in_flight:
                raise ResourceExhausted(
                    "The gateway has too many requests under way; try again in a moment.",
                    reason="OVERLOADED",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            response = await self._respond(scope, protocol, body, ids, headers)
        except MeshError as error:
            response = self._refused(error, scope, ids)
        except (ProtocolClosed, ProtocolError):
            response = self._refused(Cancelled("The client went away."), scope, ids)
        except Exception as error:  # noqa: BLE001 - the boundary of a request
            self._log.error("fail_request", exc_info=error, **ids.log_fields())
            response = error_response(Internal.of_trace(ids.trace_id), ids)
        finally:
            self._in_flight -= 1
        await body.discard()
        headers += self._edge.response_headers.of(scope, response)
        if self._is_leaving() and scope.http_version.startswith("1"):
            headers.append(("connection", "close"))
        _send(protocol, response, headers, with_body=scope.method != "HEAD")

    async def _respond(
        self,
        scope: Scope,
        protocol: HTTPProtocol,
        body: Body,
        ids: RequestIds,
        told: HeaderList,
    ) -> Response:
        """`told` takes the headers that the answer has whatever comes of it."""
        edge = self._edge
        client_address = edge.addresses.of(scope.client, scope.headers)
        if scope.method == "OPTIONS":
            edge.admit(LimitClass.ADDRESS, scope, client_address, told)
            return self._options(scope)
        try:
            target, variables = self._router.match(scope.method, scope.path)
        except MeshError:
            edge.admit(LimitClass.ADDRESS, scope, client_address, told)
            raise
        token = edge.admit(target.endpoint.limit_class, scope, client_address, told)
        response = await target.endpoint.answer(
            Request(
                path=scope.path,
                variables=variables,
                query=scope.query_string,
                headers=scope.headers,
                ids=ids,
                read_body=body.read,
                disconnected=protocol.client_disconnect,
                client_address=client_address,
            )
        )
        if token is not None:
            edge.succeeded(token)
        return response

    def _options(self, scope: Scope) -> Response:
        allowed = {"OPTIONS"} if scope.path == "*" else self._router.allowed(scope.path)
        verbs = ", ".join(sorted(allowed))
        asked = self._edge.response_headers.preflight(scope, verbs)
        return Response(204, b"", headers=[("allow", verbs), *asked])

    def _refused(self, error: MeshError, scope: Scope, ids: RequestIds) -> Response:
        response = error_response(error, ids)
        if response.status >= 500:
            is_bug = error.code is Code.INTERNAL and error.__cause__ is not None
            self._log.log(
                logging.ERROR if is_bug else logging.WARNING,
                "fail_request" if is_bug else "refuse_request",
                method=scope.method,
                path=scope.path[:200],
                code=error.code.name,
                reason=error.reason,
                exc_info=error.__cause__,
                **ids.log_fields(),
            )
        if error.code in (Code.INTERNAL, Code.UNKNOWN):
            # Whatever it says was not written for players.
            fault = Internal.of_trace(ids.trace_id)
            fault.metadata = error.metadata
            return error_response(fault, ids)
        return response


def _send(
    protocol: HTTPProtocol, response: Response, headers: HeaderList, *, with_body: bool
) -> None:
    headers += response.headers
    if response.status in (204, 304):
        protocol.response_empty(response.status, headers)
        return
    headers.append(("content-type", response.content_type))
    headers.append(("content-length", str(len(response.body))))
    if with_body:
        protocol.response_bytes(response.status, headers, response.body)
    else:
        protocol.response_empty(response.status, headers)
