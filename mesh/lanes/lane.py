"""The client's side of one lane.

A call waits in the outbox, is sent, and is answered; it can be withdrawn while it waits and
after it was sent. One task writes the waiting calls, another reads the replies. The lane ends
with its stream, whichever side ends it, and every call on the lane ends with it.

While calls are in flight and nothing arrives, the client pings the server. A call that times
out therefore knows whether the instance is alive and the call slow, or whether the instance
was silent.

If this process itself stood still, its timers fire before it has read what arrived in that
time. A call whose deadline passed then waits a little longer, because its reply may already
be in the socket.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any

import grpc
import structlog

from mesh.calling.transport import ConnectionBroken, NoAnswer
from mesh.calls import Metadata
from mesh.errors import MeshError
from mesh.lanes.expiries import Expiries
from mesh.lanes.limits import MAX_UNSENT_BYTES, MAX_UNSENT_CALLS, LaneFull, checked_call_size
from mesh.lanes.liveness import HELD_UP_SECONDS, LOOK_SECONDS, Liveness
from mesh.lanes.outbox import Outbox
from mesh.status import from_wire
from protos.mesh.v1 import lane_pb2

MAX_TIMEOUT_MS = 3_600_000
READING_SECONDS = 0.25
"""How much longer a call waits if this process stood still while its deadline passed."""
log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Call:
    id: int
    method: str
    request: bytes
    metadata: Metadata
    expires_at: float
    outcome: "asyncio.Future[bytes | MeshError]"
    has_waited_longer: bool = False


class Lane:
    """Sends calls over a stream on which the server's greeting has arrived. Use it in one
    event loop only."""

    def __init__(
        self,
        stream: Any,
        *,
        max_unsent_calls: int = MAX_UNSENT_CALLS,
        max_unsent_bytes: int = MAX_UNSENT_BYTES,
        on_end: Callable[[], None] = lambda: None,
        observe_calls: Callable[[int], None] = lambda count: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stream` is a grpc.aio.StreamStreamCall of raw bytes. `observe_calls` gets the number
        of calls in each message, `on_end` is called once when the lane has ended."""
        self._stream = stream
        self._max_unsent_calls = max_unsent_calls
        self._max_unsent_bytes = max_unsent_bytes
        self._on_end = on_end
        self._observe_calls = observe_calls
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, _Call] = {}
        self._expiries = Expiries(self._calls.keys(), self._expire, clock)
        self._unsent: Outbox[_Call] = Outbox()
        self._cancelled_ids: list[int] = []
        self._last_id = 0
        self._liveness = Liveness(clock)
        self._looking: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._must_send_goaway = False
        self._has_ended = False
        self._news = asyncio.Event()
        self._reading = self._loop.create_task(self._keep_reading(), name="lane-reader")
        self._writing = self._loop.create_task(self._keep_writing(), name="lane-writer")

    @property
    def takes_calls(self) -> bool:
        """Whether the lane is open and the server is not draining."""
        return not (self._has_ended or self._is_draining)

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    async def call(
        self, method: str, request: bytes, metadata: Metadata, timeout_seconds: float
    ) -> bytes:
        """See `mesh.calling.transport.Transport.call`. Also raises LaneFull and MessageTooLarge."""
        # Checked before it is queued: a call that cannot be written would fail its whole batch.
        size_bytes = checked_call_size(request, metadata)
        if not self.takes_calls:
            raise ConnectionBroken(was_sent=False)
        if (
            len(self._unsent) >= self._max_unsent_calls
            or self._unsent.size_bytes >= self._max_unsent_bytes
        ):
            raise LaneFull
        self._last_id = call_id = self._last_id + 1
        outcome: asyncio.Future[bytes | MeshError] = self._loop.create_future()
        expires_at = self._clock() + timeout_seconds
        call = _Call(call_id, method, request, metadata, expires_at, outcome)
        # `_calls` has every call without a reply; those not written yet are in `_unsent` too.
        self._calls[call_id] = call
        self._unsent.put(call_id, call, size_bytes)
        self._news.set()
        self._expiries.add(call_id, expires_at)
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK_SECONDS, self._look)
        try:
            reply = await outcome
        except asyncio.CancelledError:
            self._withdraw(call)
            raise
        if isinstance(reply, MeshError):
            raise reply
        return reply

    async def close(self) -> None:
        """Ends the lane and fails the calls on it. Idempotent."""
        self._reading.cancel()
        self._writing.cancel()
        await asyncio.wait((self._reading, self._writing))

    def _expire(self, call_id: int) -> None:
        call = self._calls[call_id]
        late_seconds = self._clock() - call.expires_at
        if call.outcome.done():  # its task was cancelled, and is about to withdraw it
            return
        if late_seconds > HELD_UP_SECONDS and not call.has_waited_longer:
            # The process stood still. The reply may be in the socket, so let the reader run.
            # This happens once for each call, so that the wait stays bounded.
            call.has_waited_longer = True
            self._expiries.add(call_id, self._clock() + READING_SECONDS)
        else:
            was_sent = self._withdraw(call)
            # A late timer is no evidence of silence: the delay was on this side.
            showed_no_life = self._liveness.is_silent(late_seconds)
            call.outcome.set_result(NoAnswer(was_sent=was_sent, showed_no_life=showed_no_life))

    def _look(self) -> None:
        self._looking = None
        if not self._calls or self._has_ended:
            return
        self._looking = self._loop.call_later(LOOK_SECONDS, self._look)
        self._liveness.look()
        if self._liveness.must_ping:
            self._news.set()

    def _withdraw(self, call: _Call) -> bool:
        """Drops a call. Returns whether it may have reached the server; if so, the next message
        cancels it there."""
        # Still in the outbox: it was never written, so there is nothing to cancel.
        if self._unsent.drop(call.id):
            del self._calls[call.id]
            return False
        if self._calls.pop(call.id, None) is not None:
            self._cancelled_ids.append(call.id)
            self._news.set()
        return True

    async def _keep_writing(self) -> None:
        try:
            while True:
                await self._news.wait()
                # Cleared before writing: a call that arrives during a write sets it again, or
                # is seen by `_has_news`. Nothing is missed, and each write takes all that waits.
                self._news.clear()
                while self._has_news():
                    await self._stream.write(self._next_batch().SerializeToString())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the stream has ended; the reader gets the reason
        except Exception as error:  # without the log entry the lane would hang unnoticed
            log.error("fail_lane", side="client", exc_info=error)
        finally:
            # Makes the reader end too: `_end`, which fails the calls, runs only there.
            self._stream.cancel()

    def _has_news(self) -> bool:
        must_send_flag = self._must_send_goaway or self._liveness.must_ping
        return bool(self._unsent or self._cancelled_ids) or must_send_flag

    def _next_batch(self) -> lane_pb2.CallBatch:
        batch = lane_pb2.CallBatch()
        if self._cancelled_ids or self._must_send_goaway or self._liveness.must_ping:
            batch.cancelled_ids.extend(self._cancelled_ids)
            batch.no_more_calls = self._must_send_goaway
            batch.ping = self._liveness.must_ping
            self._cancelled_ids = []
            self._must_send_goaway = self._liveness.must_ping = False
        # Timeouts are relative, since the clocks of two machines differ. They are computed at
        # the last moment, so that time spent in the outbox counts.
        now = self._clock()
        add = batch.calls.add
        calls = self._unsent.take()
        for call in calls:
            timeout_ms = min(max(1, ceil((call.expires_at - now) * 1000)), MAX_TIMEOUT_MS)
            metadata = add(
                id=call.id, method=call.method, request=call.request, timeout_ms=timeout_ms
            ).metadata
            # As an argument of `add` it would go through protobuf's Python code.
            for key, value in call.metadata.items():
                metadata[key] = value
        self._observe_calls(len(calls))
        return batch

    async def _keep_reading(self) -> None:
        try:
            while (message := await self._stream.read()) is not grpc.aio.EOF:
                self._liveness.record_message()
                self._take(lane_pb2.ReplyBatch.FromString(message))
        except grpc.aio.AioRpcError as error:
            log.info("lose_lane", code=error.code().name)
        except Exception as error:  # without the log entry the lane would hang unnoticed
            log.error("fail_lane", side="client", exc_info=error)
        finally:
            self._end()

    def _take(self, batch: lane_pb2.ReplyBatch) -> None:
        for reply in batch.replies:
            call = self._calls.pop(reply.id, None)
            # A withdrawn call is no longer in `_calls`; a call whose task was cancelled is done.
            if call is not None and not call.outcome.done():
                call.outcome.set_result(
                    _error_of(reply) if reply.HasField("error") else reply.response
                )
        if batch.draining:
            # Unsent calls fail as not sent, so the client may try them on another instance.
            # The farewell lets the server end the lane once it has answered the others.
            self._is_draining = True
            self._must_send_goaway = True
            self._break_unsent()
            self._news.set()

    def _break_unsent(self) -> None:
        while calls := self._unsent.take():
            for call in calls:
                del self._calls[call.id]
                _break(call, was_sent=False)

    def _end(self) -> None:
        self._has_ended = True
        self._stream.cancel()
        self._writing.cancel()
        # Unsent calls first: they are in `_calls` too, but their requests were never written.
        self._break_unsent()
        for call in self._calls.values():
            _break(call, was_sent=True)
        self._calls.clear()
        self._expiries.close()
        self._on_end()


def _break(call: _Call, *, was_sent: bool) -> None:
    if not call.outcome.done():
        call.outcome.set_result(ConnectionBroken(was_sent=was_sent))


def _error_of(reply: lane_pb2.LaneReply) -> MeshError:
    return from_wire(reply.error.code, reply.error.message, reply.error.SerializeToString())
