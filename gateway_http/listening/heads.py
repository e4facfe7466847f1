"""What a request's head must be beyond what the parser checks. Pure; raises BadRequest."""

import re

from httptools import HttpParserInvalidURLError, parse_url

from gateway_http.errors import BadRequest
from gateway_http.exchange import Headers

VERSIONS = frozenset({"1.0", "1.1"})
HOST = re.compile(r"([\w.~!$&'()*+,;=%-]*|\[[\w:.~]+\])(:[0-9]*)?", re.ASCII)
"""uri-host [ ":" port ] of RFC 9110, 7.2. It may be empty."""
LONGEST_LENGTH_DIGITS = 19


def check_version_and_host(version: str, headers: Headers) -> None:
    """There is one valid Host header; HTTP/1.0 may have none (RFC 9112, 3.2)."""
    hosts = headers.get_all("host")
    is_host_fit = len(hosts) == 1 and HOST.fullmatch(hosts[0]) is not None
    if version not in VERSIONS or not (is_host_fit or (version == "1.0" and not hosts)):
        raise BadRequest


def declared_length(version: str, headers: Headers) -> int | None:
    """The Content-Length, which llhttp has found to be a number. Refuses a body whose end this
    server cannot tell (RFC 9112, 6.1)."""
    if "transfer-encoding" in headers:
        codings = [value.lower() for value in headers.get_all("transfer-encoding")]
        if codings != ["chunked"] or version == "1.0":
            raise BadRequest
    length = headers.get("content-length")
    if length is None:
        return None
    if len(length) > LONGEST_LENGTH_DIGITS:
        raise BadRequest
    return int(length)


def split_target(url: bytes) -> tuple[str, str]:
    """The path and the query of a request's target, both still percent-encoded."""
    if not url.startswith((b"/", b"*")):
        try:
            parsed = parse_url(url)
        except HttpParserInvalidURLError:
            raise BadRequest from None
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    path, _, query = url.partition(b"?")
    return path.decode("latin-1"), query.decode("utf-8", "replace")
