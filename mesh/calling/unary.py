"""Unary gRPC calls of raw bytes, over one channel per address.

The first call to an address creates its channel, in the running loop. The reconnect backoff
is capped low, so that a restarted instance is found within half a second. Channels are
replaced when the process's certificate is renewed.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from mesh.calling.connections import CLOSING_GRACE_SECONDS, Connections
from mesh.calling.transport import ConnectionBroken, NoAnswer, UnfitMetadata
from mesh.calls import Metadata
from mesh.errors import MeshError
from mesh.status import DETAILS_KEY, from_wire
from mesh.tls.security import PLAIN, Security

MAX_REQUEST_BYTES = 256 * 1024
"""Small, since a server holds as much for each request that has begun to arrive. The largest are
those of the gateway, which have the body and the head of an HTTP request."""
MAX_RESPONSE_BYTES = 4 * 1024 * 1024
STREAM_WINDOW_BYTES = 1024 * 1024

CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # this one bounds the attempt to connect
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    # Measuring the bandwidth wakes up gRPC's own threads some thirty times after each answer. So a
    # stream has a fixed window instead, which is the most that has arrived and is not read yet.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", STREAM_WINDOW_BYTES),
    # Retries are up to mesh.calling.client.
    ("grpc.enable_retries", 0),
    # A server closes the connection (GOAWAY) if pings come more often than every 5 s.
    ("grpc.keepalive_time_ms", 6_000),
    # A keepalive ping's own timeout; in grpcio 1.85 keepalive_timeout_ms alone does nothing.
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Ignore proxies from the environment between processes of the mesh.
    ("grpc.enable_http_proxy", 0),
)

_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_Method = Callable[..., grpc.aio.UnaryUnaryCall[bytes, bytes]]


class _Connection:
    """The channel to one address, with a callable for each method used so far."""

    def __init__(self, address: str, security: Security) -> None:
        self.channel = security.channel(address, CHANNEL_OPTIONS)
        self._methods: dict[str, _Method] = {}

    async def close(self) -> None:
        await self.channel.close()

    def method(self, path: str) -> _Method:
        found = self._methods.get(path)
        if found is None:
            found = self._methods[path] = self.channel.unary_unary(path)
        return found


class UnaryTransport:
    """A `mesh.calling.transport.Transport`. Use it in one event loop only."""

    def __init__(
        self,
        *,
        security: Security = PLAIN,
        closing_grace_seconds: float = CLOSING_GRACE_SECONDS,
    ) -> None:
        self._connections = Connections(
            lambda address: _Connection(address, security), closing_grace_seconds
        )
        self._unsubscribe = security.subscribe(self._connections.renew)

    async def connect(self, address: str, timeout_seconds: float) -> None:
        channel = self._connections.to(address).channel
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return
        try:
            async with asyncio.timeout(timeout_seconds):
                while state is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                        raise ConnectionBroken(was_sent=False)
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)
        except TimeoutError as error:
            raise NoAnswer(was_sent=False) from error

    async def call(
        self,
        address: str,
        method: str,
        request: bytes,
        metadata: Metadata,
        timeout_seconds: float,
    ) -> bytes:
        if not all(key.isascii() and value.isascii() for key, value in metadata.items()):
            raise UnfitMetadata
        send = self._connections.to(address).method(method)
        try:
            return await send(request, timeout=timeout_seconds, metadata=tuple(metadata.items()))
        except grpc.aio.AioRpcError as error:
            raise _error_of(error) from error

    @property
    def connected_addresses(self) -> frozenset[str]:
        """The addresses that have a connection."""
        return self._connections.addresses

    def retain(self, addresses: Iterable[str]) -> None:
        self._connections.retain(addresses)

    async def close(self) -> None:
        self._unsubscribe()
        await self._connections.close()


def _error_of(error: grpc.aio.AioRpcError) -> MeshError:
    """The MeshError for a gRPC error. Errors of our servers have details; errors that gRPC
    itself raises, such as a lost connection, have none."""
    code = error.code()
    details = _details_of(error)
    if details is None and code in _BROKEN:
        return ConnectionBroken(was_sent=True)
    if details is None and code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return NoAnswer(was_sent=True)
    number: int = code.value[0]
    return from_wire(number, error.details() or "", details)


def _details_of(error: grpc.aio.AioRpcError) -> bytes | None:
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == DETAILS_KEY:
            return bytes(value)
    return None
