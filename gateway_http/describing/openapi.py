"""The OpenAPI 3.1 document, from the same descriptors as the routes and the codecs.

Every operation has its token, its parameters and body, its answer, and the errors that the
comment of its proto method names.
"""

import re
from typing import Any

from gateway_http.describing.field_rules import is_required
from gateway_http.describing.own_routes import OWN_PATHS
from gateway_http.describing.schemas import ERROR_SCHEMA, Schemas
from gateway_http.errors import STATUS_BY_CODE, STATUS_BY_REASON
from gateway_http.transcoding.binding import has_idempotency_key
from gateway_http.transcoding.contracts import (
    Binding,
    Contracts,
    Operation,
    header_names_of,
    is_raw_part,
)
from mesh.contract.access import Access, Rule
from mesh.contract.idempotency import IDEMPOTENCY_KEY
from mesh.errors import Code

_VARIABLE = re.compile(r"\{([^}=]+)(?:=\*)?\}")
_MEANINGS: dict[int, str] = {
    400: "The request is wrong, or the state does not allow it.",
    401: "The token or the password is missing or wrong; with TOKEN_EXPIRED, refresh it.",
    403: "The token is for another kind of caller, or the current password is wrong.",
    404: "The resource does not exist.",
    405: "The path does not support the method; Allow names those that it supports.",
    408: "The body did not arrive in time.",
    409: "It exists already, or the first request with the key is still under way.",
    413: "The body is too large.",
    415: "The body's media type or content encoding is not supported.",
    422: "The Idempotency-Key was used before with another body.",
    429: "Too many requests; Retry-After says when to try again.",
    500: "Internal error; quote the traceId in a report.",
    503: "No instance can answer now; repeat the request with the answer's Idempotency-Key.",
    504: "Timeout, the outcome is unknown; repeat with the answer's Idempotency-Key.",
}
_ALWAYS = (400, 429, 500, 503, 504)


def openapi_document(contracts: Contracts, max_body_bytes: int) -> dict[str, Any]:
    """The document as JSON values. `max_body_bytes` appears in its description."""
    schemas = Schemas(contracts)
    paths: dict[str, dict[str, Any]] = {}
    for operation in contracts.operations:
        for index, binding in enumerate(operation.bindings):
            path, description = _operation(operation, binding, schemas, is_main=index == 0)
            paths.setdefault(path, {})[binding.verb.lower()] = description
    paths.update(OWN_PATHS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gacha Mesh",
            "version": "1",
            "description": (
                "Players hold currency and pull from banners. Every error is one JSON object; "
                "its reason is for programs, its message for people, and its traceId finds "
                f"the log lines. Bodies hold at most {max_body_bytes} bytes."
            ),
        },
        "servers": [{"url": "/"}],
        "tags": _tags(contracts),
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR_SCHEMA, **schemas.components},
            "securitySchemes": {
                "player": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The token from POST /login or POST /refresh.",
                },
                "admin": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "An operator's token, valid for a minute.",
                },
            },
            "responses": {
                str(status): _error_response(meaning) for status, meaning in _MEANINGS.items()
            },
        },
    }


def _tags(contracts: Contracts) -> list[dict[str, str]]:
    services = {each.service: each.service_comment for each in contracts.operations}
    return [
        *({"name": _tag(name), "description": comment} for name, comment in services.items()),
        {"name": "Gateway", "description": "The state of the gateway itself."},
    ]


def _tag(service: str) -> str:
    return service.rsplit(".", 1)[-1].removesuffix("Service")


def _operation(
    operation: Operation, binding: Binding, schemas: Schemas, *, is_main: bool
) -> tuple[str, dict[str, Any]]:
    fields = operation.request.fields_by_name
    variables = _VARIABLE.findall(binding.template)
    path = _VARIABLE.sub(lambda match: f"{{{fields[match[1]].json_name}}}", binding.template)
    parameters = [schemas.parameter(fields[name], "path") for name in variables]
    summary, _, details = operation.comment.partition("\n\n")
    description: dict[str, Any] = {
        "operationId": operation.name if is_main else f"{operation.name}By{binding.verb.title()}",
        "tags": [_tag(operation.service)],
        "summary": summary.split(". ")[0].rstrip("."),
        "description": details or summary,
    }
    if binding.takes_body:
        description["requestBody"] = {
            "required": any(is_required(field) for field in fields.values()),
            "content": {"application/json": {"schema": schemas.body(operation, variables)}},
        }
    else:
        parameters += [
            schemas.parameter(field, "query")
            for field in fields.values()
            if field.name not in variables
            and field.name != IDEMPOTENCY_KEY
            and not is_raw_part(field)
        ]
    if binding.raw_body:
        description["requestBody"] = schemas.raw_body(fields[binding.raw_body])
    parameters += [
        schemas.header(field, name) for field in fields.values() for name in header_names_of(field)
    ]
    if has_idempotency_key(operation.request):
        parameters.append(_KEY_PARAMETER)
    if parameters:
        description["parameters"] = parameters
    if operation.rule.access is not Access.PUBLIC:
        description["security"] = _security(operation.rule)
    description["responses"] = _responses(operation, binding, schemas)
    return path, description


def _security(rule: Rule) -> list[dict[str, list[str]]]:
    """The accepted tokens, of which a call needs one; {} means that no token is needed."""
    if rule.access is Access.PLAYER:
        return [{"player": []}]
    return [{"admin": []}, {}] if rule.may_be_opened else [{"admin": []}]


_KEY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": (
        "Makes a repeat safe: the same key with the same request returns the first answer again "
        "and changes nothing. Use a new key, such as a UUID, for each request: 1 to 128 visible "
        "ASCII characters, quoted or bare; both are the same key. A request without a key gets "
        "one from the gateway."
    ),
    "schema": {
        "type": "string",
        "pattern": r'^([!#-~][!-~]{0,127}|"([!#-\[\]-~]|\\["\\]){1,128}")$',
    },
    "example": '"7f1f4b0e-6a3b-4c53-9a38-0d1c6d1f2a10"',
}


_REQUEST_ID_HEADER: dict[str, Any] = {
    "description": "The request's x-request-id, or the trace id if it had none.",
    "schema": {"type": "string"},
}
_KEY_HEADER: dict[str, Any] = {
    "description": ("If the operation takes a key: the key to repeat the request with, in quotes."),
    "schema": {"type": "string"},
}


def _responses(operation: Operation, binding: Binding, schemas: Schemas) -> dict[str, Any]:
    statuses = set(_ALWAYS)
    if operation.rule.access is not Access.PUBLIC:
        statuses |= {401, 403}
    if binding.takes_body or binding.raw_body:
        statuses |= {408, 413, 415}
    named = set(re.findall(r"[A-Z][A-Z_]+[A-Z]", operation.comment))
    statuses |= {status for code, status in STATUS_BY_CODE.items() if code.name in named}
    statuses |= {status for reason, status in STATUS_BY_REASON.items() if reason in named}
    statuses -= {STATUS_BY_CODE[Code.OK], STATUS_BY_CODE[Code.CANCELLED]}
    success: dict[str, Any] = {
        "description": schemas.comment(operation.response.full_name) or "Done.",
        "content": {"application/json": {"schema": schemas.reference(operation.response)}},
        "headers": {"x-request-id": _REQUEST_ID_HEADER},
    }
    if has_idempotency_key(operation.request):
        success["headers"]["Idempotency-Key"] = _KEY_HEADER
    errors = {
        str(status): {"$ref": f"#/components/responses/{status}"}
        for status in sorted(statuses)
        if status in _MEANINGS
    }
    return {"200": success, **errors}


def _error_response(meaning: str) -> dict[str, Any]:
    return {
        "description": meaning,
        "headers": {"x-request-id": _REQUEST_ID_HEADER, "Idempotency-Key": _KEY_HEADER},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
