"""A route whose answers are remembered for as long as its proto declares (mesh.v1.memory_ms).

Guarantees: it refuses what the route's call refuses. The edge has counted the request against
every limit before, as for a call. Each answer has an ETag, and conditions are evaluated.
"""

from gateway_http.caching.conditions import ETAG, conditional, entity_tag
from gateway_http.caching.memory import AnswerMemory
from gateway_http.exchange import Request, Response
from gateway_http.transcoding.rest_call import RestCall
from mesh.deadlines import Deadline

TIMEOUT, KEY = "grpc-timeout", "idempotency-key"
"""Headers that the call checks. With them there is always a call."""


class RememberedCall:
    """The endpoint."""

    def __init__(self, call: RestCall, memory: AnswerMemory, max_age_seconds: float) -> None:
        """The answers of `call` depend on the path and the query alone."""
        self._call = call
        self._memory = memory
        self._max_age_seconds = max_age_seconds
        self.limit_class = call.limit_class

    async def answer(self, request: Request) -> Response:
        """Raises as `RestCall.answer` does, and PreconditionFailed."""
        received = request.received
        headers = received.headers
        if received.is_too_large or TIMEOUT in headers or KEY in headers:
            response = await self._tagged(request, self._call.deadline(request))
            return conditional(headers, response)
        key = received.path, received.query
        known = self._memory.remembered(key, self._max_age_seconds)
        if known is not None:
            return conditional(headers, known)
        deadline = self._call.deadline(request)
        response = await self._memory.called(
            key, self._max_age_seconds, lambda: self._tagged(request, deadline)
        )
        return conditional(headers, response)

    async def _tagged(self, request: Request, deadline: Deadline) -> Response:
        """The answer of a call, with its ETag."""
        response = await self._call.answer_by(deadline, request)
        tag = (ETAG, entity_tag(response.body))
        return Response(
            response.status, response.body, response.content_type, [*response.headers, tag]
        )
