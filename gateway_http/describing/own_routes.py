"""OpenAPI operations of the gateway's own pages; every other path is in the protos."""

from typing import Any

_PAGE: dict[str, Any] = {"schema": {"type": "string"}}


def _page(
    name: str, summary: str, schema: dict[str, Any], *errors: str, has_html: bool = False
) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if has_html:
        content["text/html"] = _PAGE
    responses: dict[str, Any] = {"200": {"description": summary, "content": content}}
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
_STATUS: dict[str, Any] = {"type": "string", "enum": ["ok", "degraded"]}


def _partly(required: dict[str, Any], **of_operators: dict[str, Any]) -> dict[str, Any]:
    """An object with further values that only operators get."""
    return {**required, "properties": {**of_operators, **required["properties"]}}


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
        "What is alive: states for everybody, instances with names and addresses for operators",
        _object(
            status=_STATUS,
            gateway=_partly(_object(state=_STATES, uptimeSeconds={"type": "number"}), id=_TEXT),
            registry=_object(viewAgeSeconds={"type": ["number", "null"]}),
            services={
                "type": "object",
                "additionalProperties": {
                    "type": "array",
                    "items": _partly(_object(state=_STATES), id=_TEXT, address=_TEXT),
                },
            },
        ),
        *("401", "429"),
        has_html=True,
    ),
    "/odds": _page(
        "GetOddsPage",
        "The odds of every banner: a page for browsers, the banners as JSON for others",
        {"$ref": "#/components/schemas/gacha.v1.ListBannersResponse"},
        *("429", "500", "503", "504"),
        has_html=True,
    ),
    "/": _page(
        "GetHomePage",
        "What this server is, and where everything else is: a page for browsers, links for others",
        _object(
            name=_TEXT,
            status=_STATUS,
            links={"type": "object", "additionalProperties": {"type": "string"}},
        ),
        "429",
        has_html=True,
    ),
}
