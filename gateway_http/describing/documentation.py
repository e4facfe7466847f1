"""/openapi.json, and the page at /docs that shows it.

The page is Swagger UI from the package swagger-ui-py. The gateway serves all its files; the
page loads nothing from other hosts, and its content security policy forbids that.
"""

import gzip
import hashlib
from collections.abc import Iterator
from importlib.resources import files

import swagger_ui

from gateway_http.exchange import LimitClass, Request, Response

_FILES = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}

_PAGE = b"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gacha Mesh: the REST API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_START = b"""'use strict';
// Each visit has a username of its own, so that the examples work when they are sent.
const name = "player_" + crypto.getRandomValues(new Uint32Array(1))[0].toString(36);
const sentToken = /gmr_A{70}/;
let refreshToken = "";

async function start() {
  const answer = await fetch("/openapi.json");
  const document = (await answer.text()).replaceAll("player_one", name);
  SwaggerUIBundle({
    spec: JSON.parse(document),
    dom_id: "#swagger-ui",
    deepLinking: true,
    persistAuthorization: true,
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor(request) {
      if (refreshToken && typeof request.body === "string") {
        request.body = request.body.replace(sentToken, refreshToken);
      }
      return request;
    },
    responseInterceptor(response) {
      refreshToken = response.body?.refresh_token || refreshToken;
      return response;
    },
  });
}
start();
"""

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        # Swagger UI sets style attributes and draws its icons from data URLs.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class StaticFile:
    """One file that does not change while the process runs; compressed once if that helps."""

    limit_class = LimitClass.ADDRESS

    def __init__(self, body: bytes, content_type: str, policy: str | None = None) -> None:
        compressed = gzip.compress(body, 6, mtime=0)
        self._body = body
        self._compressed = compressed if len(compressed) < 0.9 * len(body) else None
        self._content_type = content_type
        self._tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self._headers = [("etag", self._tag), ("cache-control", "no-cache")]
        if policy is not None:
            self._headers.append(("content-security-policy", policy))
        if self._compressed is not None:
            self._headers.append(("vary", "accept-encoding"))

    async def answer(self, request: Request) -> Response:
        if self._tag in (request.headers.get("if-none-match") or ""):
            return Response(304, b"", self._content_type, self._headers)
        if self._compressed is not None and _takes_gzip(request):
            headers = [*self._headers, ("content-encoding", "gzip")]
            return Response(200, self._compressed, self._content_type, headers)
        return Response(200, self._body, self._content_type, self._headers)


def documentation_pages(openapi: bytes) -> Iterator[tuple[str, StaticFile]]:
    """Each path with its handler of GET; `openapi` is the document as JSON."""
    yield "/openapi.json", StaticFile(openapi, "application/json")
    yield "/docs", StaticFile(_PAGE, "text/html; charset=utf-8", _POLICY)
    yield "/docs/start.js", StaticFile(_START, "text/javascript; charset=utf-8")
    folder = files(swagger_ui) / "static"
    for name, content_type in _FILES.items():
        yield f"/docs/{name}", StaticFile((folder / name).read_bytes(), content_type)


def _takes_gzip(request: Request) -> bool:
    for offer in (request.headers.get("accept-encoding") or "").lower().split(","):
        coding, _, quality = offer.strip().partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
