"""How much of a connection and of a request the gateway takes, and for how long it waits."""

from dataclasses import dataclass

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one server. Times are checked each second, so they are exact to a second.

    A new connection has `head_seconds` for its TLS handshake, as long for the first byte,
    and as long for a head from its first byte on. A body has `body_seconds` from the end of
    its head. A kept-alive connection may be idle for `idle_seconds`, and that is also how
    long a client may take to read an answer.

    A body above `max_body_bytes` is read on and thrown away, so that the client gets to read
    the answer (RFC 9112, 9.6): up to `max_discarded_bytes` more, in `discard_seconds`. As
    much is thrown away of what comes after the last answer of a connection.
    A client that sends no more than half a connection's end (shutdown) still gets an answer
    that is ready within `half_closed_seconds`; then it counts as gone.
    """

    max_connections: int = 8192
    max_head_bytes: int = MAX_HEAD_BYTES
    max_headers: int = 128
    max_body_bytes: int = MAX_BODY_BYTES
    max_discarded_bytes: int = 4 * 1024 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    idle_seconds: float = 60.0
    discard_seconds: float = 2.0
    half_closed_seconds: float = 0.5
