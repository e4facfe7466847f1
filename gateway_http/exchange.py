"""A request and its response, as the parts of the gateway see them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, overload

from mesh.tracing import trace_id_of

JSON = "application/json"
HeaderList = list[tuple[str, str]]


class Headers:
    """The headers of a request, by lower-case name. Their bytes are read as Latin-1."""

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Names must be in lower case."""
        self._pairs = list(pairs)
        # The first of several with one name wins, so it is written last.
        self._first = dict(reversed(self._pairs))

    def __contains__(self, name: str) -> bool:
        return name in self._first

    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first header with that name."""
        return self._first.get(name, default)

    def get_all(self, name: str) -> list[str]:
        """The values of all headers with that name, in their order."""
        return [value for each, value in self._pairs if each == name]


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


@dataclass(slots=True)
class HttpRequest:
    """A complete request, as it came over its connection.

    `path` is percent-decoded, `query` is not. `client` is host:port of who is connected.
    `is_too_large` says that the body exceeded the bound; then `body` is empty.
    `is_last` says that the connection closes after the answer. `waited_seconds` is how long
    the body took to arrive after the head.
    """

    method: str
    path: str
    query: str
    headers: Headers
    client: str
    scheme: str
    body: bytes = b""
    is_too_large: bool = False
    is_last: bool = False
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose route is known.

    `received` is what came over the connection, `variables` are those of the path,
    percent-decoded. `client_address` is the client's address, without a port.
    """

    received: HttpRequest
    variables: Mapping[str, str]
    ids: RequestIds
    client_address: str

    @property
    def headers(self) -> Headers:
        """Those of the request."""
        return self.received.headers


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent back; content-length and date are added by whoever sends it."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: HeaderList = field(default_factory=list)


class Endpoint(Protocol):
    """What answers the requests of a route."""

    @property
    def limit_class(self) -> LimitClass: ...

    async def answer(self, request: Request) -> Response:
        """Raises MeshError, which becomes the JSON error."""
        ...


def idempotency_key_header(key: str) -> tuple[str, str]:
    """The response header that names a key, as a structured field's string."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return ("idempotency-key", f'"{escaped}"')
