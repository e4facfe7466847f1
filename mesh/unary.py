"""Unary gRPC calls of raw bytes, over one channel an address.

A channel is made in the running loop by the first call to its address. Its
reconnect backoff is capped low, so that a restarted instance is found within
half a second. Once its address is no longer wanted, it is closed after a grace
in which the calls that it carries may end.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import grpc

from mesh.calls import Metadata
from mesh.errors import MeshError
from mesh.status import DETAILS_KEY, from_wire
from mesh.transport import ConnectionBroken, NoAnswer

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
CLOSING_GRACE_SECONDS = 60.0

CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # this one bounds the attempt to connect
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # The client above repeats what may be repeated.
    ("grpc.enable_retries", 0),
    # Servers answer with GOAWAY to pings that come more often than each 5 s.
    ("grpc.keepalive_time_ms", 6_000),
    # A keepalive ping's own timeout; in grpcio 1.85 keepalive_timeout_ms alone does nothing.
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A proxy from the environment has no place between processes of the mesh.
    ("grpc.enable_http_proxy", 0),
)

_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_Method = Callable[..., grpc.aio.UnaryUnaryCall[bytes, bytes]]


class _Connection:
    """The channel to one address, and its callable for every method used so far."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._methods: dict[str, _Method] = {}
        self.closing: asyncio.TimerHandle | None = None

    def method(self, path: str) -> _Method:
        found = self._methods.get(path)
        if found is None:
            found = self._methods[path] = self.channel.unary_unary(path)
        return found


class UnaryTransport:
    """A `mesh.transport.Transport`; use it in one event loop alone."""

    def __init__(self, closing_grace_seconds: float = CLOSING_GRACE_SECONDS) -> None:
        self._closing_grace_seconds = closing_grace_seconds
        self._connections: dict[str, _Connection] = {}
        self._closings: set[asyncio.Task[None]] = set()

    async def connect(self, address: str, timeout_seconds: float) -> None:
        channel = self._connection(address).channel
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
        send = self._connection(address).method(method)
        try:
            return await send(request, timeout=timeout_seconds, metadata=tuple(metadata.items()))
        except grpc.aio.AioRpcError as error:
            raise _error_of(error) from error

    def retain(self, addresses: Iterable[str]) -> None:
        wanted = set(addresses)
        for address, connection in self._connections.items():
            if address in wanted:
                if connection.closing is not None:
                    connection.closing.cancel()
                    connection.closing = None
            elif connection.closing is None:
                connection.closing = asyncio.get_running_loop().call_later(
                    self._closing_grace_seconds, partial(self._begin_closing, address)
                )

    async def close(self) -> None:
        for address, connection in list(self._connections.items()):
            if connection.closing is not None:
                connection.closing.cancel()
            self._begin_closing(address)
        await asyncio.gather(*self._closings)

    def _connection(self, address: str) -> _Connection:
        found = self._connections.get(address)
        if found is None:
            found = self._connections[address] = _Connection(address)
        return found

    def _begin_closing(self, address: str) -> None:
        connection = self._connections.pop(address)
        task = asyncio.get_running_loop().create_task(connection.channel.close())
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)


def _error_of(error: grpc.aio.AioRpcError) -> MeshError:
    """What the server sent has details; what gRPC itself says has none."""
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
