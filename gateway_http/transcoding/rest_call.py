"""Answers a REST route by one call to the service of its method.

Guarantees: the call ends by its deadline, and is cancelled when the client disconnects. It
carries the client's token, its trace, the fields of the method's request and the observed
client address, and nothing else from the client. Every answer has the call's idempotency key.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from google.protobuf.message_factory import GetMessageClass

from gateway_http.edge import headers
from gateway_http.errors import RequestTooLarge, in_json_names, with_json_texts
from gateway_http.exchange import (
    HeaderList,
    LimitClass,
    Request,
    Response,
    idempotency_key_header,
)
from gateway_http.transcoding.binding import RequestBinding
from gateway_http.transcoding.contracts import Operation
from gateway_http.transcoding.encoding import Encoder
from gateway_http.transcoding.json_names import json_names_of
from gateway_http.transcoding.raw_parts import RawParts
from mesh.calls import (
    AUTHORIZATION,
    CLIENT_ADDRESS,
    TRACEPARENT,
    Metadata,
    SheddingCaller,
)
from mesh.contract.idempotency import IDEMPOTENCY_KEY
from mesh.contract.method_config import WorkKind
from mesh.deadlines import Deadline
from mesh.errors import Internal, MeshError, Unauthenticated


class RestCall:
    """One route of one operation."""

    def __init__(
        self,
        operation: Operation,
        binding: RequestBinding,
        raw_parts: RawParts,
        encoder: Encoder,
        caller: SheddingCaller,
        *,
        maximum_seconds: float,
        max_body_bytes: int,
    ) -> None:
        """`maximum_seconds` bounds the deadline, as does the method's own declaration. A body
        above `max_body_bytes` was not kept, and is refused."""
        self._path = operation.path
        self._needs_token = operation.rule.needs_token
        self.limit_class = _limit_class(operation)
        self._binding = binding
        self._raw_parts = raw_parts
        self._decode: Callable[[bytes], Any] = GetMessageClass(operation.response).FromString
        self._encode = encoder.encode
        self._caller = caller
        self._maximum_seconds = min(maximum_seconds, operation.config.max_seconds)
        self._default_seconds = min(maximum_seconds, operation.config.default_seconds)
        self._max_body_bytes = max_body_bytes
        self._json_names = json_names_of(operation.request, operation.response)
        self._headers = _caching(operation)

    def answer(self, request: Request) -> Coroutine[Any, Any, Response]:
        """Raises MeshError for a wrong request, and the errors of the service."""
        return self.answer_by(None, request)

    async def answer_by(self, deadline: Deadline | None, request: Request) -> Response:
        """`answer`, by a deadline that began before; None for that of the request.

        A call for which the service has no room is refused before any other work.
        """
        self._caller.refuse_early(self._path)
        key = headers.idempotency_key_of(request.headers)
        try:
            deadline = deadline or self.deadline(request)
            metadata = self._metadata(request)
            message = self._bound(request, key)
            if self._binding.takes_key:
                key = message.idempotency_key
            content = await self._call(message, metadata, deadline)
        except MeshError as error:
            if key and self._binding.takes_key:
                error.metadata[IDEMPOTENCY_KEY] = key
            raise
        if not self._binding.takes_key:
            return Response(200, content, headers=self._headers)
        named = idempotency_key_header(message.idempotency_key)
        return Response(200, content, headers=[*self._headers, named])

    def _bound(self, request: Request, given_key: str | None) -> Any:
        """The request message."""
        body = self._body(request)
        query = request.received.query
        try:
            message = self._binding.bind(request.variables, query, body, given_key)
        except MeshError as error:  # its fields have the names that the client wrote
            raise with_json_texts(error, self._json_names) from None
        self._raw_parts.put(message, body, request.headers)
        return message

    async def _call(self, message: Any, metadata: Metadata, deadline: Deadline) -> bytes:
        """The service's answer as JSON."""
        try:
            reply = await self._caller.call(
                self._path, message.SerializeToString(), metadata, deadline
            )
            return self._encode(self._decode(reply))
        except MeshError as error:
            raise in_json_names(error, self._json_names) from None
        except Exception as error:
            # A bug, but the call may have taken effect, so the error must have its key.
            raise Internal("The call or its answer could not be converted.") from error

    def _metadata(self, request: Request) -> dict[str, str]:
        metadata = {
            CLIENT_ADDRESS: request.client_address,
            TRACEPARENT: request.ids.traceparent,
        }
        if request.authorization is not None:
            metadata[AUTHORIZATION] = request.authorization
        elif self._needs_token:
            missing = request.headers.get("authorization") is None
            raise Unauthenticated(
                "A bearer token is missing: send 'Authorization: Bearer <token>' as Login gave it."
                if missing
                else "The token is not valid here; log in again.",
                reason="TOKEN_MISSING" if missing else "TOKEN_INVALID",
            )
        return metadata

    def deadline(self, request: Request) -> Deadline:
        """When the call for a request that begins now must end. Raises InvalidArgument."""
        seconds = headers.timeout_seconds_of(request.headers, self._maximum_seconds)
        if seconds is None:
            return Deadline.after(self._default_seconds)
        # The caller's own time began with the head, and the body may have come late.
        return Deadline.after(seconds - request.received.waited_seconds)

    def _body(self, request: Request) -> bytes:
        if request.received.is_too_large:  # where a body is not used, it has not arrived either
            raise RequestTooLarge(self._max_body_bytes)
        if not (self._binding.takes_body or self._raw_parts.has_body):
            return b""
        body = request.received.body
        if body and self._binding.takes_body:
            headers.check_json(request.headers)
        return body


def _caching(operation: Operation) -> HeaderList:
    """The Cache-Control header: how long caches may keep an answer, or that they must not, or
    that they must revalidate it each time; no header leaves it to HTTP's defaults."""
    if not operation.is_cacheable:
        return [("cache-control", "no-store")]
    if operation.cache_seconds:
        return [("cache-control", f"public, max-age={operation.cache_seconds}")]
    return [("cache-control", "public, no-cache")] if operation.is_remembered else []


def _limit_class(operation: Operation) -> LimitClass:
    """A public call that hashes a password can be used to guess names and passwords. Other
    secrets in bodies are too long to guess."""
    if operation.rule.needs_token:
        return LimitClass.PLAYER
    is_sign_in = operation.config.work_kind is WorkKind.HASHING
    return LimitClass.SIGN_IN if is_sign_in else LimitClass.ADDRESS
