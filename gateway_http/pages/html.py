"""HTML answers: when a client wants one, and its rendering.

Guarantees: every value is escaped, whoever wrote it. The content security policy allows the
gateway's own stylesheet and images, and no script. Templates are compiled at the start.
"""

import re
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from gateway_http.exchange import HeaderList, Headers, HttpRequest, Request, Response

STYLESHEET = "/pages.css"
HTML = "text/html; charset=utf-8"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
VARY: HeaderList = [("vary", "accept")]

_QUALITY = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_ENVIRONMENT = Environment(
    loader=PackageLoader("gateway_http.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def template(name: str) -> Template:
    """The compiled template of that file. Raises jinja2.TemplateError for a wrong one."""
    return _ENVIRONMENT.get_template(name)


def stylesheet() -> bytes:
    """The stylesheet of all pages."""
    return (files("gateway_http.pages") / "templates" / "pages.css").read_bytes()


def wants_html(headers: Headers) -> bool:
    """Whether the Accept header names HTML, as browsers do, and prefers nothing else.

    A client that takes anything (`*/*`) gets JSON. Source: RFC 9110, section 12.5.1.
    """
    qualities: dict[str, float] = {}
    for value in headers.get_all("accept"):
        for part in value.lower().split(","):
            media_type, *parameters = (piece.strip() for piece in part.split(";"))
            given = [match for each in parameters if (match := _QUALITY.fullmatch(each))]
            qualities[media_type] = float(given[0][1]) if given else 1.0
    html = qualities.get("text/html", 0.0)
    return html > 0 and html >= qualities.get("application/json", 0.0)


def html_response(status: int, page: Template, values: dict[str, Any]) -> Response:
    """The rendered page, which no cache may keep."""
    headers = [*VARY, ("content-security-policy", POLICY), ("cache-control", "no-store")]
    body = page.render(values, stylesheet=STYLESHEET).encode()
    return Response(status, body, HTML, headers)


def inner(request: Request, path: str, query: str = "") -> Request:
    """A GET of another route by the gateway itself, in the client's trace. It has no headers of
    the client, so it gets what everybody may see."""
    received = request.received
    get = HttpRequest("GET", path, query, Headers(()), received.client, received.scheme)
    return Request(get, {}, request.ids, request.client_address, None)
