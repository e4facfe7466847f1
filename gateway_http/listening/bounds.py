"""The gateway's limits on the size and the duration of connections and requests."""

from dataclasses import dataclass

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one server.

    At most `max_connections` are open, `max_address_connections` of them from one address (of
    IPv6: one /64; its /56 may have 4 times as many, its /48 16 times). Of these,
    `max_address_unfinished` may be sending a request or reading an answer.
    `gateway_http.listening.places` says what ends beyond that.

    Times are checked once a second, so they are exact to a second.

    A new connection has `head_seconds` for its TLS handshake, the same for its first byte, and
    the same for a head from its first byte on. A body has `body_seconds` from the end of its
    head. A kept-alive connection may be idle for `idle_seconds`. A client may take as long to
    read an answer.

    If a body exceeds `max_body_bytes`, the rest is read and discarded, so that the client can
    read the answer (RFC 9112, 9.6): up to `max_discarded_bytes` more, in `discard_seconds`. The
    same limits apply to bytes after the last answer of a connection. A client that shuts down
    its sending side still gets each answer that is ready within `half_closed_seconds`. After
    that it counts as disconnected. When the server leaves, a request that has not arrived whole has
    `leave_seconds` for the rest.
    """

    max_connections: int = 8192
    max_address_connections: int = 1024
    max_address_unfinished: int = 256
    max_head_bytes: int = MAX_HEAD_BYTES
    max_headers: int = 128
    max_body_bytes: int = MAX_BODY_BYTES
    max_discarded_bytes: int = 4 * 1024 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    idle_seconds: float = 60.0
    discard_seconds: float = 2.0
    half_closed_seconds: float = 0.5
    leave_seconds: float = 2.0
