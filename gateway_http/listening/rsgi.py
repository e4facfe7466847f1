"""The part of RSGI, granian's interface, that the gateway uses.

Source: the RSGI specification 1.5, github.com/emmett-framework/granian.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from gateway_http.exchange import Headers


class Scope(Protocol):
    """The head of a request; `path` is percent-decoded, `query_string` is not; `client` is
    host:port of who is connected."""

    @property
    def http_version(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query_string(self) -> str: ...
    @property
    def headers(self) -> Headers: ...


class HTTPProtocol(Protocol):
    """The body of a request, and the way to its response."""

    async def __call__(self) -> bytes:
        """The whole body."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        ...

    async def client_disconnect(self) -> None:
        """Returns when the client has gone away."""
        ...

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None: ...
    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...
