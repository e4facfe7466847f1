"""A transport that keeps one lane to each address.

The first call to an address opens the lane; further calls wait for the same opening. No call
is sent before the lane is open. Channels have the same backoff, keepalive and renewal as in
mesh.calling.unary.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from typing import Any

import grpc
import structlog

from mesh.calling.connections import CLOSING_GRACE_SECONDS, Connections
from mesh.calling.transport import ConnectionBroken, NoAnswer
from mesh.calling.unary import CHANNEL_OPTIONS
from mesh.calls import AUTHORIZATION, Metadata
from mesh.deadlines import Deadline
from mesh.lanes.lane import Lane
from mesh.lanes.limits import EXCHANGE, MAX_CALLS_BYTES, MAX_REPLIES_BYTES
from mesh.tls.security import PLAIN, Security

OPENING_TIMEOUT_SECONDS = 10.0
REFUSAL_BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5)

_OPTIONS = (
    *(option for option in CHANNEL_OPTIONS if not option[0].endswith("_message_length")),
    ("grpc.max_send_message_length", MAX_CALLS_BYTES),
    ("grpc.max_receive_message_length", MAX_REPLIES_BYTES),
)
_ABSENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
log = structlog.get_logger()


class _Connection:
    """The channel to one address, and its lane if one is open."""

    def __init__(
        self,
        address: str,
        security: Security,
        token: Callable[[], str],
        observe_calls: Callable[[int], None],
    ) -> None:
        self._address = address
        self._token = token
        self._observe_calls = observe_calls
        self._channel = security.channel(address, _OPTIONS)
        self._exchange: Any = self._channel.stream_stream(EXCHANGE)
        self._opening: asyncio.Task[None] | None = None
        self._refusal_count = 0
        self._refused_until = 0.0
        self.lane: Lane | None = None

    async def opened(self, timeout_seconds: float) -> Lane:
        """The open lane. Raises ConnectionBroken or NoAnswer, with `was_sent` false."""
        if self.lane is None:
            if self._opening is None:
                # The lane outlives the call that opens it, so it must not inherit its trace.
                self._opening = asyncio.create_task(
                    self._open(), name="lane-opening", context=Context()
                )
            opening = self._opening
            # A uvloop timer may fire a millisecond early. `wait` does not cancel the opening:
            # other calls wait for it too.
            done, _ = await asyncio.wait((opening,), timeout=timeout_seconds + 0.001)
            if not done:
                raise NoAnswer(was_sent=False)
        if self.lane is None or not self.lane.takes_calls:
            raise ConnectionBroken(was_sent=False)
        return self.lane

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self.lane is not None:
            await self.lane.close()
        await self._channel.close()

    async def _open(self) -> None:
        """Sets `lane`, or leaves it unset if no lane can be opened."""
        try:
            if asyncio.get_running_loop().time() >= self._refused_until:
                await self._exchange_greeting()
        except TimeoutError:
            log.warning("fail_lane_opening", target=self._address, code="TIMEOUT")
        except grpc.aio.AioRpcError as error:
            if error.code() not in _ABSENT:
                self._refuse(error)
        except Exception as error:  # without the log entry the task would end unnoticed
            log.error("fail_lane_opening", target=self._address, exc_info=error)
        finally:
            self._opening = None

    async def _exchange_greeting(self) -> None:
        stream = self._exchange(metadata=((AUTHORIZATION, f"Bearer {self._token()}"),))
        async with asyncio.timeout(OPENING_TIMEOUT_SECONDS):
            greeting = await stream.read()
        if greeting is not grpc.aio.EOF:
            self._refusal_count = 0
            self.lane = Lane(stream, on_end=self._forget_lane, observe_calls=self._observe_calls)

    def _forget_lane(self) -> None:
        self.lane = None

    def _refuse(self, error: grpc.aio.AioRpcError) -> None:
        """The server answered and refused: a token, a clock or a version is wrong."""
        last = len(REFUSAL_BACKOFF_SECONDS) - 1
        pause_seconds = REFUSAL_BACKOFF_SECONDS[min(self._refusal_count, last)]
        self._refusal_count += 1
        self._refused_until = asyncio.get_running_loop().time() + pause_seconds
        log.error("refuse_lane", target=self._address, code=error.code().name)


async def _open_and_call(
    connection: _Connection,
    method: str,
    request: bytes,
    metadata: Metadata,
    timeout_seconds: float,
) -> bytes:
    deadline = Deadline.after(timeout_seconds)
    lane = await connection.opened(timeout_seconds)
    return await lane.call(method, request, metadata, deadline.remaining_seconds())


class LaneTransport:
    """A `mesh.calling.transport.Transport`. Use it in one event loop only."""

    def __init__(
        self,
        token: Callable[[], str],
        *,
        security: Security = PLAIN,
        closing_grace_seconds: float = CLOSING_GRACE_SECONDS,
        observe_calls: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`token` returns the service token to open a lane with. `observe_calls` gets the
        number of calls in each message."""
        self._connections = Connections(
            lambda address: _Connection(address, security, token, observe_calls),
            closing_grace_seconds,
        )
        self._unsubscribe = security.subscribe(self._connections.renew)

    async def connect(self, address: str, timeout_seconds: float) -> None:
        await self._connections.to(address).opened(timeout_seconds)

    def call(
        self,
        address: str,
        method: str,
        request: bytes,
        metadata: Metadata,
        timeout_seconds: float,
    ) -> Coroutine[Any, Any, bytes]:
        connection = self._connections.to(address)
        lane = connection.lane
        if lane is not None:  # without a coroutine of its own around that of the lane
            return lane.call(method, request, metadata, timeout_seconds)
        return _open_and_call(connection, method, request, metadata, timeout_seconds)

    @property
    def connected_addresses(self) -> frozenset[str]:
        """The addresses that have a connection."""
        return self._connections.addresses

    def retain(self, addresses: Iterable[str]) -> None:
        self._connections.retain(addresses)

    async def close(self) -> None:
        self._unsubscribe()
        await self._connections.close()
