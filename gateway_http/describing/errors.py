"""The errors of the OpenAPI document: their schema, and for each status what it means and an
example that has this status.

An operation whose comment names the reasons of a status has them in its example; other
operations share the status's own example.
"""

import re
from dataclasses import dataclass
from typing import Any

from gateway_http.errors import STATUS_BY_CODE, STATUS_BY_REASON
from mesh.errors import Code

_TRACE_ID = "5a0f6f0c3b0e4e0b8f0d3c1f2a107f1f"
_NAME = re.compile(r"[A-Z]+(?:_[A-Z]+)*")
_CODE_WITH_REASONS = re.compile(r"([A-Z_]{5,}) with ([A-Z_]{5,}(?:(?:, (?:or )?| or )[A-Z_]{5,})*)")

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Any error.",
    "required": ["status", "message", "code", "reason", "requestId", "traceId"],
    "properties": {
        "status": {"type": "string", "const": "error"},
        "message": {"type": "string", "description": "One sentence for people."},
        "code": {"type": "string", "description": "The name of a google.rpc.Code."},
        "reason": {"type": "string", "description": "For programs: UPPER_SNAKE_CASE."},
        "requestId": {
            "type": "string",
            "description": "The x-request-id of this answer: yours, or the trace id.",
        },
        "traceId": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "The id for logs (W3C Trace Context): quote it in a report.",
        },
        "idempotencyKey": {
            "type": "string",
            "description": (
                "The key to repeat this request with: yours, or the one that the gateway made."
            ),
        },
        "fields": {
            "type": "array",
            "description": "The fields that are wrong, when some are.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "details": {
            "type": "object",
            "description": "Further values of the error, such as priceGems and balanceGems.",
            "additionalProperties": {"type": "string"},
        },
    },
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """A status: what it means in the document, and an error that has it."""

    text: str
    code: Code
    reason: str
    message: str
    fields: tuple[tuple[str, str], ...] = ()


MEANINGS: dict[int, Meaning] = {
    400: Meaning(
        "The request is wrong, or the state does not allow it.",
        Code.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "colour is not a field of this request",
        (("colour", "is not a field of this request"),),
    ),
    401: Meaning(
        "The token or the password is missing or wrong; with TOKEN_EXPIRED, refresh it.",
        Code.UNAUTHENTICATED,
        "TOKEN_EXPIRED",
        "The token has expired; refresh it or log in again.",
    ),
    403: Meaning(
        "The token is for another kind of caller, or the current password is wrong.",
        Code.PERMISSION_DENIED,
        "WRONG_CALLER",
        "This method is only for players, but the token belongs to a service.",
    ),
    404: Meaning("The resource does not exist.", Code.NOT_FOUND, "NOT_FOUND", "Not found."),
    405: Meaning(
        "The path does not support the method; Allow names those that it supports.",
        Code.UNIMPLEMENTED,
        "METHOD_NOT_ALLOWED",
        "This route does not support the method; use GET.",
    ),
    408: Meaning(
        "The body did not arrive in time.",
        Code.DEADLINE_EXCEEDED,
        "REQUEST_TIMEOUT",
        "The request did not arrive in time; send it again.",
    ),
    409: Meaning(
        "It exists already, or the first request with the key is still under way.",
        Code.ABORTED,
        "IDEMPOTENCY_KEY_IN_USE",
        "The first request with this idempotency key is still under way; repeat it in a moment.",
    ),
    412: Meaning(
        "The answer is none of those that If-Match names.",
        Code.FAILED_PRECONDITION,
        "PRECONDITION_FAILED",
        "The answer is none of those that If-Match names; ask without If-Match.",
    ),
    413: Meaning(
        "The body is too large.",
        Code.OUT_OF_RANGE,
        "REQUEST_TOO_LARGE",
        "The body must not be larger than 65536 bytes.",
    ),
    415: Meaning(
        "The body's media type or content encoding is not supported.",
        Code.INVALID_ARGUMENT,
        "UNSUPPORTED_MEDIA_TYPE",
        "The body must be JSON in UTF-8, uncompressed: send Content-Type: application/json.",
    ),
    422: Meaning(
        "The Idempotency-Key was used before with another request.",
        Code.INVALID_ARGUMENT,
        "IDEMPOTENCY_KEY_REUSED",
        "This idempotency key was used before with another request; give each request its own.",
    ),
    429: Meaning(
        "Too many requests; Retry-After says when to try again.",
        Code.RESOURCE_EXHAUSTED,
        "RATE_LIMITED",
        "Too many requests from this address; try again in 7 s.",
    ),
    500: Meaning(
        "Internal error; quote the traceId in a report.",
        Code.INTERNAL,
        "INTERNAL",
        f"Internal error; quote trace id {_TRACE_ID}.",
    ),
    503: Meaning(
        "No instance can answer now; repeat the request with the answer's Idempotency-Key.",
        Code.UNAVAILABLE,
        "UNAVAILABLE",
        "No instance can answer now; try again in a moment.",
    ),
    504: Meaning(
        "Timeout, the outcome is unknown; repeat with the answer's Idempotency-Key.",
        Code.DEADLINE_EXCEEDED,
        "DEADLINE_EXCEEDED",
        "The call took longer than its deadline; what happened is unknown.",
    ),
}


def shared_example(status: int) -> dict[str, Any]:
    """The error of a status that any operation may answer."""
    meaning = MEANINGS[status]
    return _example(meaning.code, meaning.reason, meaning.message, meaning.fields)


def named_examples(comment: str) -> dict[int, list[dict[str, Any]]]:
    """The errors that a method's comment names with their reasons, such as "NOT_FOUND with
    BANNER_NOT_FOUND", by status."""
    examples: dict[int, list[dict[str, Any]]] = {}
    for code_name, reasons in _CODE_WITH_REASONS.findall(comment):
        if code_name not in Code.__members__:
            continue
        code = Code[code_name]
        for reason in _NAME.findall(reasons):
            status = STATUS_BY_REASON.get(reason) or STATUS_BY_CODE[code]
            message = reason.replace("_", " ").capitalize()
            examples.setdefault(status, []).append(_example(code, reason, message))
    return examples


def _example(
    code: Code, reason: str, message: str, fields: tuple[tuple[str, str], ...] = ()
) -> dict[str, Any]:
    listed = [{"field": name, "message": description} for name, description in fields]
    return {
        "status": "error",
        "message": message,
        "code": code.name,
        "reason": reason,
        "requestId": _TRACE_ID,
        "traceId": _TRACE_ID,
        **({"fields": listed} if listed else {}),
    }
