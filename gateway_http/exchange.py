"""The types of a request and its response in the gateway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from mesh.errors import MeshError
from mesh.tracing import trace_id_of

JSON = "application/json"
HeaderList = list[tuple[str, str]]


class Headers(dict[str, str]):
    """The headers of a request: by lower-case name, the first of those with that name. Their bytes
    are read as Latin-1."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Names must be in lower case."""
        # The first of several with one name wins, so it is written last.
        super().__init__(reversed(pairs))
        self._pairs = pairs

    def get_all(self, name: str) -> list[str]:
        """The values of all headers with that name, in their order."""
        if name not in self:
            return []
        if len(self) == len(self._pairs):
            return [self[name]]
        return [value for each, value in self._pairs if each == name]


class LimitClass(StrEnum):
    """The limits of a route, besides the one on the client's address."""

    UNLIMITED = "unlimited"
    ADDRESS = "address"
    SIGN_IN = "sign-in"
    PLAYER = "player"


class RequestIds(NamedTuple):
    """`request_id` is the client's id for its request, or the trace id if it sent none.
    `traceparent` is valid (W3C Trace Context)."""

    request_id: str
    traceparent: str

    @property
    def trace_id(self) -> str:
        """The id for logs."""
        return trace_id_of(self.traceparent)

    def log_fields(self) -> dict[str, str]:
        """The ids for a log line; the client's own id only if it differs."""
        if self.request_id == self.trace_id:
            return {"trace_id": self.trace_id}
        return {"trace_id": self.trace_id, "request_id": self.request_id}


@dataclass(slots=True)
class HttpRequest:
    """A complete request, as it arrived on its connection.

    `path` and `query` are still percent-encoded. `client` is host:port of the connection's peer.
    `is_too_large` means that the body exceeded the bound; then `body` is empty. `is_last` means
    that the connection closes after the answer. `waited_seconds` is the time between the arrival
    of the head and of the whole body.
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


class Request(NamedTuple):
    """A request whose route is known.

    `received` is the request as it arrived. `variables` are the path's variables,
    percent-decoded. `client_address` is the client's address without a port. `authorization` is
    the Authorization header, or None when it is missing or cannot be a token.
    """

    received: HttpRequest
    variables: Mapping[str, str]
    ids: RequestIds
    client_address: str
    authorization: str | None

    @property
    def headers(self) -> Headers:
        """The headers of the request."""
        return self.received.headers


class Response(NamedTuple):
    """A response; the connection adds content-length and date."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Sequence[tuple[str, str]] = ()


class Endpoint(Protocol):
    """Answers the requests of a route."""

    @property
    def limit_class(self) -> LimitClass: ...

    async def answer(self, request: Request) -> Response:
        """Answers a request. Raises MeshError, which becomes the JSON error."""
        ...


class Application(Protocol):
    """Answers the requests of connections."""

    async def answer(self, request: HttpRequest) -> Response:
        """Raises nothing except CancelledError, when the client has disconnected."""
        ...

    def refuse(self, error: MeshError) -> Response:
        """The answer to a request that could not be read."""
        ...


def idempotency_key_header(key: str) -> tuple[str, str]:
    """The Idempotency-Key response header; the key is a structured field string."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return ("idempotency-key", f'"{escaped}"')
