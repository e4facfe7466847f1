"""The OpenAPI 3.1 document, from the same descriptors as the routes and the codecs.

Every operation has its token, its parameters and body, its answer, and the errors that the
comment of its proto method names.
"""

import re
from typing import Any

from gateway_http.describing.conditional import describe_conditions
from gateway_http.describing.errors import ERROR_SCHEMA, MEANINGS, named_examples, shared_example
from gateway_http.describing.field_rules import is_required
from gateway_http.describing.own_routes import OWN_PATHS
from gateway_http.describing.schemas import Schemas
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
GATEWAY_TAG = {"name": "Gateway", "description": "The state of the gateway itself."}
OPERATORS_TAG = {"name": "Operators", "description": "Calls that need an operator's token."}
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
                str(status): _error_response(status, [shared_example(status)])
                for status in MEANINGS
            },
        },
    }


def _tags(contracts: Contracts) -> list[dict[str, str]]:
    """What players call comes first, then the gateway, operators, and other machines."""
    comments = {
        _tag(each): OPERATORS_TAG["description"] if _is_operators(each) else each.service_comment
        for each in contracts.operations
    }
    of_machines = {
        _tag(each) for each in contracts.operations if any(b.raw_body for b in each.bindings)
    }
    last = {OPERATORS_TAG["name"], *of_machines}
    return [
        *({"name": name, "description": comments[name]} for name in comments if name not in last),
        GATEWAY_TAG,
        *([OPERATORS_TAG] if OPERATORS_TAG["name"] in comments else []),
        *({"name": name, "description": comments[name]} for name in sorted(of_machines)),
    ]


def _tag(operation: Operation) -> str:
    if _is_operators(operation):
        return OPERATORS_TAG["name"]
    return operation.service.rsplit(".", 1)[-1].removesuffix("Service")


def _is_operators(operation: Operation) -> bool:
    return operation.rule.access is Access.SERVICE


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
        "tags": [_tag(operation)],
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
    if operation.is_remembered:
        describe_conditions(operation, description)
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
        "ASCII characters, quoted or bare; both are the same key. Leave it out for a new request: "
        "the gateway makes a key and returns it."
    ),
    "schema": {
        "type": "string",
        "pattern": r'^([!#-~][!-~]{0,127}|"([!#-\[\]-~]|\\["\\]){1,128}")$',
    },
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
    examples = named_examples(operation.comment)
    if 400 in examples:
        examples[400].append(shared_example(400))
    errors = {
        str(status): _error_response(status, examples[status])
        if status in examples
        else {"$ref": f"#/components/responses/{status}"}
        for status in sorted(statuses)
        if status in MEANINGS
    }
    return {"200": success, **errors}


def _error_response(status: int, examples: list[dict[str, Any]]) -> dict[str, Any]:
    """The response of a status, with examples that have it."""
    return {
        "description": MEANINGS[status].text,
        "headers": {"x-request-id": _REQUEST_ID_HEADER, "Idempotency-Key": _KEY_HEADER},
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Error"},
                "examples": {each["reason"]: {"value": each} for each in examples},
            }
        },
    }
