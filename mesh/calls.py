"""A call between processes, as both ends see it.

Every caller uses a `Caller`. It does not know whether a lane or a unary gRPC call carries
the request.
"""

from collections.abc import Mapping
from typing import Protocol

from mesh.deadlines import Deadline

Metadata = Mapping[str, str]
"""Lower-case keys; at most one value for a key."""

AUTHORIZATION = "authorization"
REQUEST_ID = "x-request-id"
"""The client's own id for its request. The server that the client is connected to does not
pass it on."""
TRACEPARENT = "traceparent"
"""W3C Trace Context; the id for logs is its trace id (`mesh.tracing`)."""
CLIENT_ADDRESS = "x-client-address"
"""The client's IP address in its canonical spelling, or a text that is no address if it is
unknown. Only a service that speaks for clients (the gateway, on its own lane) may set it, see
`mesh.lanes.service`. For every other call the server sets it to the connected peer."""

ALL_INSTANCES_UNAVAILABLE = "ALL_INSTANCES_UNAVAILABLE"
"""The reason of Unavailable when no instance of a service is left to try."""

MAX_REQUEST_ID_LENGTH = 128


def is_fit_request_id(given: str) -> bool:
    """Whether a caller's request id is safe to log and to send back."""
    return 0 < len(given) <= MAX_REQUEST_ID_LENGTH and given.isascii() and given.isprintable()


class Caller(Protocol):
    """Calls one service of the mesh, on whichever instance answers."""

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """Sends one request and returns the serialized response.

        `method` is a full gRPC path, such as "/account.v1.AccountService/Login".
        The current trace is sent along, unless `metadata` has a traceparent.
        A method whose proto declares an idempotency_level is retried when an instance
        fails. Any other method is sent again only if the request cannot have arrived.

        Raises MeshError: the server's own error; Unavailable with the reason
        ALL_INSTANCES_UNAVAILABLE; or DeadlineExceeded. For example:

            response = LoginResponse.FromString(
                await caller.call(
                    "/account.v1.AccountService/Login",
                    LoginRequest(username="ada", password=password).SerializeToString(),
                    {},
                    Deadline.after(2.0),
                )
            )
        """
        ...


class SheddingCaller(Caller, Protocol):
    """A caller that can refuse a call before the request is built."""

    def refuse_early(self, method: str) -> None:
        """Raises ResourceExhausted with OVERLOADED while every instance has recently reported
        that it has no room for calls of this kind."""
        ...
