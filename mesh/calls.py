"""A call between processes, as both ends see it.

Every caller goes through a `Caller`; whether a lane or a unary gRPC call lies
below it, no caller knows.
"""

from collections.abc import Mapping
from typing import Protocol

from mesh.deadlines import Deadline

Metadata = Mapping[str, str]
"""Lower-case keys; at most one value for a key."""

AUTHORIZATION = "authorization"
REQUEST_ID = "x-request-id"
"""The client's own name for its request. It ends where the client is connected."""
TRACEPARENT = "traceparent"
"""W3C Trace Context; the id for logs is its trace id (`mesh.tracing`)."""
CLIENT_ADDRESS = "x-client-address"
"""Where a call came from: an IPv4 or IPv6 address in its canonical spelling, or what is none
where nobody knows. Only the gateway's word is taken for it, on its own lane
(`mesh.lanes.service`); of every other call it is who is connected, whatever was sent."""

ALL_INSTANCES_UNAVAILABLE = "ALL_INSTANCES_UNAVAILABLE"
"""The reason of Unavailable when no instance of a service is left to try."""

MAX_REQUEST_ID_LENGTH = 128


def is_fit_request_id(given: str) -> bool:
    """Whether what a caller sent as its request id may be logged and sent back."""
    return 0 < len(given) <= MAX_REQUEST_ID_LENGTH and given.isascii() and given.isprintable()


class Caller(Protocol):
    """Calls one service of the mesh, on whichever instance answers."""

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """Sends one request and returns the serialized response.

        `method` is a full gRPC path, such as "/account.v1.AccountService/Login".
        The trace of the call that runs now goes along, unless `metadata` has another.
        Raises MeshError: the one that the server sent, or Unavailable with the
        reason ALL_INSTANCES_UNAVAILABLE, or DeadlineExceeded. Methods whose proto
        declares an idempotency_level are repeated on failures of an instance;
        others are sent once, unless they surely never arrived.
        """
        ...


class SheddingCaller(Caller, Protocol):
    """A caller that knows, before it is called, whether it would refuse a call."""

    def refuse_early(self, method: str) -> None:
        """Raises ResourceExhausted with OVERLOADED when every instance has said lately that
        it has no room for calls of this kind, so that the call need not be put together."""
        ...
