"""MeshError as an HTTP answer: the standard status, and one JSON shape for all errors.

    {"status": "error", "message", "code", "reason", "requestId", "traceId"}

"fields": [{"field", "message"}] is added when fields of the request are wrong, "details" when
the error has further values for programs, and "idempotencyKey" when the request has a key, the
client's or a new one: repeat it with that key.
The gateway's own errors are

    RouteNotFound         404   no route has this path
    BadRequest            400   the input is not an HTTP/1.1 request
    MalformedPath         400   the percent-encoding of the path is broken, or not of UTF-8
    MethodNotAllowed      405   the path has routes, for other verbs
    RequestTimeout        408   the request did not arrive in the time that the gateway gives
    PreconditionFailed    412   the answer is none of those that If-Match names
    RequestTooLarge       413   OUT_OF_RANGE, because a retry cannot succeed
    UnsupportedMediaType  415   the body is not JSON
    HeadTooLarge          431   OUT_OF_RANGE too
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from gateway_http.exchange import RequestIds, Response, idempotency_key_header
from mesh.contract.idempotency import IDEMPOTENCY_KEY
from mesh.errors import (
    INSTANCE,
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    MeshError,
    NotFound,
    Unimplemented,
    sentence_of,
)

STATUS_BY_CODE: dict[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
"""google.rpc.Code to HTTP, as google/rpc/code.proto maps them."""

STATUS_BY_REASON: dict[str, int] = {
    "WALLET_IN_DEBT": 402,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "PRECONDITION_FAILED": 412,
    "REQUEST_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "HEAD_TOO_LARGE": 431,
}
"""Reasons that have a more exact HTTP status than their code."""


_ABOUT_THE_REQUEST = {
    Code.INVALID_ARGUMENT,
    Code.NOT_FOUND,
    Code.ALREADY_EXISTS,
    Code.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE,
}
_WORDS_OF_A_NAME = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
_NOT_FOR_CLIENTS = {IDEMPOTENCY_KEY, INSTANCE, "field", "method"}
"""Metadata that has a place of its own in the answer, or is between processes of the mesh."""


class RouteNotFound(NotFound):
    REASON = "ROUTE_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("There is no such route; /openapi.json lists all of them.")


class MethodNotAllowed(Unimplemented):
    """`allowed` are the verbs that the path does have."""

    REASON = "METHOD_NOT_ALLOWED"

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allow = ", ".join(sorted(allowed))
        super().__init__(f"This route does not support the method; use {self.allow}.")


class RequestTimeout(DeadlineExceeded):
    REASON = "REQUEST_TIMEOUT"

    def __init__(self) -> None:
        super().__init__("The request did not arrive in time; send it again.")


class PreconditionFailed(FailedPrecondition):
    REASON = "PRECONDITION_FAILED"

    def __init__(self) -> None:
        super().__init__("The answer is none of those that If-Match names; ask without If-Match.")


class BadRequest(InvalidArgument):
    REASON = "BAD_REQUEST"

    def __init__(self) -> None:
        super().__init__("This is no valid HTTP/1.1 request.")


class MalformedPath(InvalidArgument):
    REASON = "MALFORMED_PATH"

    def __init__(self) -> None:
        super().__init__("The path must be UTF-8, percent-encoded: write % itself as %25.")


class HeadTooLarge(MeshError):
    CODE, REASON = Code.OUT_OF_RANGE, "HEAD_TOO_LARGE"

    def __init__(self, maximum_bytes: int) -> None:
        super().__init__(
            f"The request's head must have fewer headers, and at most {maximum_bytes} bytes."
        )


class RequestTooLarge(MeshError):
    CODE, REASON = Code.OUT_OF_RANGE, "REQUEST_TOO_LARGE"

    def __init__(self, maximum_bytes: int) -> None:
        super().__init__(f"The body must not be larger than {maximum_bytes} bytes.")


class UnsupportedMediaType(InvalidArgument):
    REASON = "UNSUPPORTED_MEDIA_TYPE"

    def __init__(self) -> None:
        super().__init__(
            "The body must be JSON in UTF-8, uncompressed: send Content-Type: application/json."
        )


def status_of(error: MeshError) -> int:
    """The HTTP status of an error."""
    return STATUS_BY_REASON.get(error.reason) or STATUS_BY_CODE[error.code]


def error_response(error: MeshError, ids: RequestIds) -> Response:
    """The JSON error with the headers that belong to it."""
    status = status_of(error)
    body: dict[str, Any] = {
        "status": "error",
        "message": error.message,
        "code": error.code.name,
        "reason": error.reason,
        "requestId": ids.request_id,
        "traceId": ids.trace_id,
    }
    if error.fields:
        body["fields"] = [
            {"field": violation.field, "message": violation.description}
            for violation in error.fields
        ]
    if details := _details(error):
        body["details"] = details
    headers = [("cache-control", "no-store")]
    if key := error.metadata.get(IDEMPOTENCY_KEY):
        body["idempotencyKey"] = key
        headers.append(idempotency_key_header(key))
    if error.retry_after_seconds is not None:
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after_seconds)))))
    if status == 401:
        headers.append(("www-authenticate", "Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append(("allow", error.allow))
    return Response(status, orjson.dumps(body), headers=headers)


def _details(error: MeshError) -> dict[str, str]:
    """The metadata that is meant for clients, in lowerCamelCase; the values are text, as in
    google.rpc.ErrorInfo. An error that is not about the request has none."""
    if error.code not in _ABOUT_THE_REQUEST:
        return {}
    return {
        _camel(name): value
        for name, value in error.metadata.items()
        if name not in _NOT_FOR_CLIENTS
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def in_json_names(error: MeshError, json_names: Mapping[str, str]) -> MeshError:
    """The same error, its fields named as JSON names them.

    Services report the proto names of fields; REST clients know only the JSON names.
    `json_names` has a name for each field of the request.
    """
    renamed = tuple(
        FieldViolation(json_names.get(each.field, each.field), each.description)
        for each in error.fields
    )
    if renamed != error.fields:
        sentence = sentence_of(error.fields)
        if error.message.startswith(sentence):
            error.message = sentence_of(renamed) + error.message[len(sentence) :]
        error.fields = renamed
    return with_json_texts(error, json_names)


def with_json_texts(error: MeshError, json_names: Mapping[str, str]) -> MeshError:
    """The same error; where its sentences name a field by a proto name of several words, they
    have the JSON name."""

    def in_json(match: re.Match[str]) -> str:
        return json_names.get(match[0], match[0])

    error.message = _WORDS_OF_A_NAME.sub(in_json, error.message)
    error.fields = tuple(
        FieldViolation(each.field, _WORDS_OF_A_NAME.sub(in_json, each.description))
        for each in error.fields
    )
    return error
