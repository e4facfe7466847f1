"""The request headers that the gateway understands, each checked before it is passed on.

Whatever is passed on is visible ASCII of bounded length, so that no header can
break a call's metadata or a log line.
"""

import re
from collections.abc import Callable

from gateway_http.errors import UnsupportedMediaType
from gateway_http.exchange import JSON, Headers
from mesh.errors import InvalidArgument

LONGEST_AUTHORIZATION = 4096

_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
_AUTHORIZATION = re.compile(rf"[\x20-\x7e]{{1,{LONGEST_AUTHORIZATION}}}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def request_id_of(headers: Headers, new_id: Callable[[], str]) -> str:
    """The client's x-request-id, or a new one when it is missing or unfit."""
    given = headers.get("x-request-id")
    return given if given is not None and _VISIBLE.fullmatch(given) else new_id()


def traceparent_of(headers: Headers, new_id: Callable[[], str]) -> str:
    """The client's W3C traceparent, or a new one, not sampled, when missing or unfit.

    `new_id` gives 32 lower-case hexadecimal digits.
    """
    given = headers.get("traceparent")
    if given is not None and _TRACEPARENT.fullmatch(given):
        return given
    return f"00-{new_id()}-{new_id()[:16]}-00"


def authorization_of(headers: Headers) -> str | None:
    """The Authorization header untouched, or None when it is missing or cannot be a token."""
    given = headers.get("authorization")
    return given if given is not None and _AUTHORIZATION.fullmatch(given) else None


def timeout_seconds_of(headers: Headers, default_seconds: float, maximum_seconds: float) -> float:
    """The time that Grpc-Timeout grants, such as 500m or 2S, at most `maximum_seconds`;
    without it `default_seconds`.

    Raises InvalidArgument when it is malformed. Source: gRPC over HTTP/2, "Timeout".
    """
    given = headers.get("grpc-timeout")
    if given is None:
        return default_seconds
    match = _TIMEOUT.fullmatch(given)
    if match is None:
        raise InvalidArgument.of_field(
            "Grpc-Timeout", "must be 1 to 8 digits and a unit of H, M, S, m, u or n, such as 500m"
        )
    return min(int(match[1]) * _UNIT_SECONDS[match[2]], maximum_seconds)


def idempotency_key_of(headers: Headers) -> str | None:
    """The Idempotency-Key, or None. Raises InvalidArgument when it is unfit."""
    if "idempotency-key" not in headers:
        return None
    given = headers.get("idempotency-key", "")
    if not _VISIBLE.fullmatch(given):
        raise InvalidArgument.of_field(
            "Idempotency-Key", "must be 1 to 128 visible ASCII characters"
        )
    return given


def check_json(headers: Headers) -> None:
    """Raises UnsupportedMediaType unless the body is JSON; without a Content-Type it is."""
    if headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType
    media_type, *parameters = (headers.get("content-type") or JSON).lower().split(";")
    if media_type.strip() != JSON:
        raise UnsupportedMediaType
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            raise UnsupportedMediaType
