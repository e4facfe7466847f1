"""OpenAPI of conditional requests, for the operations whose answers are remembered."""

from typing import Any

from gateway_http.transcoding.contracts import Operation

_HEADERS: dict[str, Any] = {
    "ETag": {
        "description": "Names this answer: send it in If-None-Match to learn if it has changed.",
        "schema": {"type": "string"},
    },
    "Cache-Control": {
        "description": "How caches may keep the answer (RFC 9111).",
        "schema": {"type": "string"},
    },
}


def describe_conditions(operation: Operation, description: dict[str, Any]) -> None:
    """Adds the parameter, the headers and the answers of conditional requests, and the age that
    an answer may have."""
    memory_ms = round(operation.config.memory_seconds * 1000)
    description["description"] += (
        f"\n\nThe gateway may send an answer again for {memory_ms} ms. Once the call that makes a "
        "change has returned, every answer shows the change."
    )
    description.setdefault("parameters", []).append(
        {
            "name": "If-None-Match",
            "in": "header",
            "required": False,
            "description": "ETags of answers that you have; for one of these you get 304.",
            "schema": {"type": "string"},
        }
    )
    responses = description["responses"]
    responses["200"]["headers"] |= _HEADERS
    responses["304"] = {
        "description": "The answer is one of those in If-None-Match; there is no body.",
        "headers": _HEADERS,
    }
    responses["412"] = {"$ref": "#/components/responses/412"}
    description["responses"] = dict(sorted(responses.items()))
