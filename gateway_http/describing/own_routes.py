"""OpenAPI operations of the gateway's own pages; every other path is in the protos."""

from typing import Any


def _page(name: str, summary: str, schema: dict[str, Any], *errors: str) -> dict[str, Any]:
    responses: dict[str, Any] = {
        "200": {"description": summary, "content": {"application/json": {"schema": schema}}}
    }
    for status in errors:
        responses[status] = {"$ref": f"#/components/responses/{status}"}
    return {
        "get": {
            "operationId": name,
            "tags": ["Gateway"],
            "summary": summary,
            "responses": responses,
        }
    }


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


_TEXT: dict[str, Any] = {"type": "string"}
_STATES: dict[str, Any] = {"type": "string", "enum": ["serving", "draining"]}

OWN_PATHS: dict[str, dict[str, Any]] = {
    "/healthz": _page(
        "GetHealth",
        "The process is up",
        _object(status={"type": "string", "const": "ok"}),
    ),
    "/readyz": _page(
        "GetReadiness",
        "Every service that the routes need has a live instance",
        _object(status={"type": "string", "const": "ready"}),
        "503",
    ),
    "/status": _page(
        "GetStatus",
        "The live instances",
        _object(
            status={"type": "string", "enum": ["ok", "degraded"]},
            gateway=_object(id=_TEXT, state=_STATES, uptimeSeconds={"type": "number"}),
            registry=_object(viewAgeSeconds={"type": ["number", "null"]}),
            services={
                "type": "object",
                "additionalProperties": {
                    "type": "array",
                    "items": _object(id=_TEXT, state=_STATES),
                },
            },
        ),
    ),
}
