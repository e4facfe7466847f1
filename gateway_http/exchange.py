"""A request and its response, as the parts of the gateway see them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

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
    request_id: str
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


class Endpoint(Protocol):
    """What answers the requests of a route."""

    @property
    def limit_class(self) -> LimitClass: ...

    async def answer(self, request: Request) -> Response:
        """Raises MeshError, which becomes the JSON error."""
        ...
