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
TRACEPARENT = "traceparent"
CLIENT_ADDRESS = "x-client-address"
"""Where a REST request came from, as the gateway saw it: an IPv4 or IPv6 address. Clients
cannot set it through the gateway; one that calls a service itself can."""

ALL_INSTANCES_UNAVAILABLE = "ALL_INSTANCES_UNAVAILABLE"
"""The reason of Unavailable when no instance of a service is left to try."""


class Caller(Protocol):
    """Calls one service of the mesh, on whichever instance answers."""

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """Sends one request and returns the serialized response.

        `method` is a full gRPC path, such as "/account.v1.AccountService/Login".
        Raises MeshError: the one that the server sent, or Unavailable with the
        reason ALL_INSTANCES_UNAVAILABLE, or DeadlineExceeded. Methods whose proto
        declares an idempotency_level are repeated on failures of an instance;
        others are sent once, unless they surely never arrived.
        """
        ...
