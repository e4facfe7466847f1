"""Headers of every answer for browsers: security headers, and CORS for listed origins.

The security headers forbid browsers to sniff, frame or run an answer; the page at /docs has its
own policy. Strict-Transport-Security is sent only over TLS (RFC 6797): TLS to the gateway, or
to a trusted proxy that reports it.

CORS (the Fetch standard): a listed origin may read answers and send the API's headers.
Credentials are never allowed, because players use tokens and not cookies.
"""

from collections.abc import Iterable, Sequence

from gateway_http.edge.client_address import ClientAddresses
from gateway_http.exchange import JSON, HeaderList, HttpRequest, Response

ON_EVERY_ANSWER: tuple[tuple[str, str], ...] = (
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
)
DATA_POLICY = ("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
PREFLIGHT_SECONDS = 600
ALLOWED_HEADERS = (
    "authorization, content-type, grpc-timeout, idempotency-key, if-match, if-none-match, "
    "traceparent, x-request-id"
)
EXPOSED_HEADERS = "etag, idempotency-key, ratelimit, ratelimit-policy, retry-after, x-request-id"
ASKED_METHOD = "access-control-request-method"


class ResponseHeaders:
    """The headers that depend on the request and not on the answer. Pure."""

    def __init__(
        self, origins: Iterable[str], addresses: ClientAddresses, *, hsts_seconds: int
    ) -> None:
        self._origins = frozenset(origins)
        self._addresses = addresses
        self._has_hsts = hsts_seconds > 0
        hsts = ("strict-transport-security", f"max-age={hsts_seconds}")
        self._plain = {False: ON_EVERY_ANSWER, True: (*ON_EVERY_ANSWER, DATA_POLICY)}
        self._secure = {is_json: (*plain, hsts) for is_json, plain in self._plain.items()}

    def of(self, request: HttpRequest, response: Response) -> Sequence[tuple[str, str]]:
        """The headers of one answer."""
        is_secure = self._has_hsts and self._is_secure(request)
        headers = (self._secure if is_secure else self._plain)[response.content_type == JSON]
        return (*headers, *self._cors(request)) if self._origins else headers

    def _cors(self, request: HttpRequest) -> HeaderList:
        headers = [("vary", "origin")]
        origin = request.headers.get("origin")
        if origin in self._origins:
            headers.append(("access-control-allow-origin", origin))
            headers.append(("access-control-expose-headers", EXPOSED_HEADERS))
        return headers

    def preflight(self, request: HttpRequest, allowed: str) -> HeaderList:
        """The additional headers of a preflight answer; `allowed` are the verbs of the path."""
        if (
            ASKED_METHOD not in request.headers
            or request.headers.get("origin") not in self._origins
        ):
            return []
        return [
            ("access-control-allow-methods", allowed),
            ("access-control-allow-headers", ALLOWED_HEADERS),
            ("access-control-max-age", str(PREFLIGHT_SECONDS)),
        ]

    def _is_secure(self, request: HttpRequest) -> bool:
        if request.scheme == "https":
            return True
        said = request.headers.get("x-forwarded-proto")
        return said == "https" and self._addresses.is_proxy(request.client)
