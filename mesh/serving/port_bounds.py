"""What the clients of a gRPC port may hold.

Processes of the mesh need few connections to one another, each with a lane and some streams.
"""

from dataclasses import dataclass

from mesh.serving.transfers import HEALTH_BOUNDS, TRANSFER_BOUNDS, TransferBounds


@dataclass(frozen=True, slots=True)
class PortBounds:
    """The bounds of one port.

    At most `max_connections` are open, `max_address_connections` of them from one IPv4 address or
    IPv6 /64. A further one is closed, for its address within a second. While nearly all places are
    taken, the addresses that hold the most have fewer (`mesh.serving.connections`).

    A new connection has `handshake_seconds` for its TLS handshake and its first HTTP/2 frame. One
    that had no call for `idle_seconds` is closed; clients of gRPC connect again at their next call.

    A connection has `max_connection_streams` calls at a time. Further ones wait at the client,
    within their deadlines. The number is above that of the streams that one address may have
    (`mesh.serving.streams`), so that one more stream is refused with its reason.

    `health` is for the calls of health checks, which share nothing with other calls.
    """

    max_connections: int = 8_192
    max_address_connections: int = 1_024
    max_connection_streams: int = 256
    handshake_seconds: float = 10.0
    idle_seconds: float = 60.0
    transfers: TransferBounds = TRANSFER_BOUNDS
    health: TransferBounds = HEALTH_BOUNDS

    def options(self, connections_allowed: int) -> tuple[tuple[str, int], ...]:
        """gRPC's options for these bounds. `connections_allowed` is what the system allows of
        `max_connections`."""
        return (
            ("grpc.max_allowed_incoming_connections", connections_allowed),
            ("grpc.max_concurrent_streams", self.max_connection_streams),
            # A stream that has ended for the client may take its memory here for a moment. With
            # gRPC's number, 100, a client at its bound finds some of its calls refused.
            ("grpc.http2.max_deallocating_streams", 4 * self.max_connection_streams),
            ("grpc.server_handshake_timeout_ms", round(1000 * self.handshake_seconds)),
            ("grpc.max_connection_idle_ms", round(1000 * self.idle_seconds)),
        )


PORT_BOUNDS = PortBounds()
