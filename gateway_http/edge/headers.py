"""Reads and checks the request headers that the gateway understands.

Values that are passed on are visible ASCII of bounded length, so that no header can break a
call's metadata or a log line.
"""

import re
from collections.abc import Callable

from gateway_http.errors import UnsupportedMediaType
from gateway_http.exchange import JSON, Headers, RequestIds
from mesh.contract.idempotency import is_fit_key
from mesh.errors import InvalidArgument
from mesh.tracing import is_traceparent, trace_id_of

LONGEST_AUTHORIZATION = 4096

_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_ESCAPED = re.compile(r'\\(["\\])')
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNIT_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def ids_of(headers: Headers, new_id: Callable[[], str]) -> RequestIds:
    """The client's trace and its x-request-id.

    If the trace is missing or malformed, a new one starts, with an id from `new_id`. If the
    x-request-id is missing or malformed, it is the trace id.
    """
    traceparent = traceparent_of(headers, new_id)
    given = headers.get("x-request-id")
    is_fit = given is not None and _VISIBLE.fullmatch(given)
    return RequestIds(given if given and is_fit else trace_id_of(traceparent), traceparent)


def traceparent_of(headers: Headers, new_id: Callable[[], str]) -> str:
    """The client's W3C traceparent, or a new unsampled one when it is missing or malformed.

    `new_id` returns 32 lower-case hexadecimal digits.
    """
    given = headers.get("traceparent")
    if given is not None and is_traceparent(given):
        return given
    return f"00-{new_id()}-{new_id()[:16]}-00"


def authorization_of(headers: Headers) -> str | None:
    """The Authorization header untouched, or None when it is missing or cannot be a token."""
    given = headers.get("authorization")
    if not given or len(given) > LONGEST_AUTHORIZATION:
        return None
    return given if given.isascii() and given.isprintable() else None


def timeout_seconds_of(headers: Headers, maximum_seconds: float) -> float | None:
    """The timeout in Grpc-Timeout, such as 500m or 2S, capped at `maximum_seconds`; None without
    the header.

    Raises InvalidArgument when it is malformed. Source: gRPC over HTTP/2, "Timeout".
    """
    given = headers.get("grpc-timeout")
    if given is None:
        return None
    match = _TIMEOUT.fullmatch(given)
    if match is None:
        raise InvalidArgument.of_field(
            "Grpc-Timeout", "must be 1 to 8 digits and a unit of H, M, S, m, u or n, such as 500m"
        )
    return min(int(match[1]) * _UNIT_SECONDS[match[2]], maximum_seconds)


def idempotency_key_of(headers: Headers) -> str | None:
    """The Idempotency-Key, or None. Raises InvalidArgument when it is malformed or given twice.

    `"k"` (the string of a structured field) and the bare `k` are the same key. Source:
    draft-ietf-httpapi-idempotency-key-header; RFC 9651, section 3.3.3.
    """
    if "idempotency-key" not in headers:
        return None
    # A value that is not ASCII is refused. Ignoring it would let a repeat charge twice.
    values = headers.get_all("idempotency-key")
    key = values[0].strip(" ") if len(values) == 1 else ""
    if key.startswith('"'):
        quoted = _QUOTED.fullmatch(key)
        key = _ESCAPED.sub(r"\1", quoted[1]) if quoted else ""
    if not is_fit_key(key):
        raise InvalidArgument.of_field(
            "Idempotency-Key",
            "must be given once: 1 to 128 visible ASCII characters, bare or in quotes",
        )
    return key


def check_json(headers: Headers) -> None:
    """Raises UnsupportedMediaType unless the body is JSON. No Content-Type means JSON."""
    if headers.get("content-type") == JSON and "content-encoding" not in headers:
        return  # what nearly all clients send
    if headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType
    media_type, *parameters = (headers.get("content-type") or JSON).lower().split(";")
    if media_type.strip() != JSON:
        raise UnsupportedMediaType
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "charset" and value.strip('"') not in ("utf-8", "utf8"):
            raise UnsupportedMediaType
