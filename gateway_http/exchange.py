"""A request and its response, as the parts of the gateway see them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from mesh.tracing import trace_id_of

JSON = "application/json"
HeaderList = list[tuple[str, str]]


class Headers(Protocol):
    """The request's headers, by lower-case name; the first of several with one name."""

    def __contains__(self, key: str) -> bool: ...

    def get(self, key: str, default: str | None = None) -> str | None: ...

    def get_all(self, key: str) -> list[str]: ...


class LimitClass(Enum):
    """Which limits a route falls under besides that of the client's address, if at all."""

    UNLIMITED = "unlimited"
    ADDRESS = "address"
    SIGN_IN = "sign-in"
    PLAYER = "player"


@dataclass(frozen=True, slots=True)
class RequestIds:
    """`request_id` is the client's name for its request, the trace id if it gave none;
    `traceparent` is valid (W3C Trace Context)."""

    request_id: str
    traceparent: str

    @property
    def trace_id(self) -> str:
        """The id for logs."""
        return trace_id_of(self.traceparent)

    def log_fields(self) -> dict[str, str]:
        """The ids for a log line; the client's own one when it differs."""
        if self.request_id == self.trace_id:
            return {"trace_id": self.trace_id}
        return {"trace_id": self.trace_id, "request_id": self.request_id}


@dataclass(frozen=True, slots=True)
class Request:
    """One request whose route is known.

    `path` and `variables` are percent-decoded, `query` is not. `read_body` gives the
    whole body, or raises RequestTooLarge as soon as it is known to be too large;
    `disconnected` returns when the client has gone away; `client_address` is its address,
    without a port.
    """

    path: str
    variables: Mapping[str, str]
    query: str
    headers: Headers
    ids: RequestIds
    read_body: Callable[[], Awaitable[bytes]]
    disconnected: Callable[[], Awaitable[None]]
    client_address: str


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent back; content-length and x-request-id are added by whoever sends it."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: HeaderList = field(default_factory=list)


def idempotency_key_header(key: str) -> tuple[str, str]:
    """The response header that names a key, as a structured field's string."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return ("idempotency-key", f'"{escaped}"')


class Endpoint(Protocol):
    """What answers the requests of a route."""

    @property
    def limit_class(self) -> LimitClass: ...

    async def answer(self, request: Request) -> Response:
        """Raises MeshError, which becomes the JSON error."""
        ...
