"""Errors as a page for browsers: what is wrong, and where to go from here."""

from gateway_http.errors import error_response
from gateway_http.exchange import Headers, RequestIds, Response
from gateway_http.pages.html import HTML, POLICY, STYLESHEET, VARY, template, wants_html
from mesh.errors import MeshError

_PAGE = template("error.html")
_NOT_FOUND = 404


def shown_error(error: MeshError, headers: Headers, ids: RequestIds) -> Response:
    """The error as a page for browsers, and in JSON for others."""
    if wants_html(headers):
        return error_page(error, ids)
    in_json = error_response(error, ids)
    return Response(in_json.status, in_json.body, headers=[*VARY, *in_json.headers])


def error_page(error: MeshError, ids: RequestIds) -> Response:
    """The page. It has the status and the headers of the JSON error."""
    in_json = error_response(error, ids)
    body = _PAGE.render(
        is_missing=in_json.status == _NOT_FOUND,
        message=error.message,
        trace_id=ids.trace_id,
        stylesheet=STYLESHEET,
    ).encode()
    policy = ("content-security-policy", POLICY)
    return Response(in_json.status, body, HTML, [*VARY, policy, *in_json.headers])
