"""The server's side of one lane.

Each call runs in a task of its own. The next message takes all replies that are ready. While
the client does not read its replies, the server reads no further calls. When the lane ends,
the calls that still run on it are cancelled.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from mesh.background import was_asked_to_end
from mesh.calling.unary import MAX_RESPONSE_BYTES
from mesh.calls import CLIENT_ADDRESS
from mesh.contract.method_config import UNKNOWN
from mesh.deadlines import Deadline
from mesh.errors import Internal, MeshError, Unimplemented
from mesh.lanes.limits import MAX_HELD_CALLS, MAX_HELD_REPLY_BYTES, MessageTooLarge
from mesh.lanes.outbox import Outbox
from mesh.serving.dispatch import Dispatcher
from mesh.status import to_status
from protos.mesh.v1 import lane_pb2

_Reply = tuple[int, bytes | None, status_pb2.Status | None]
log = structlog.get_logger()


class BrokenRules(Exception):
    """The client violated the protocol."""


class ServedLane:
    """Runs the calls of one lane through a dispatcher."""

    def __init__(
        self,
        context: Any,
        dispatcher: Dispatcher,
        *,
        client_address: str | None = None,
        max_held_calls: int = MAX_HELD_CALLS,
        max_held_reply_bytes: int = MAX_HELD_REPLY_BYTES,
        observe_replies: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`context` is the grpc.aio.ServicerContext of the stream, of raw bytes.
        `client_address` is the client of every call; None if each call names its own.
        `observe_replies` gets the number of replies in each message."""
        self._context = context
        self._dispatcher = dispatcher
        self._client_address = client_address
        self._max_held_calls = max_held_calls
        self._max_held_reply_bytes = max_held_reply_bytes
        self._observe_replies = observe_replies
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._cancelled: set[asyncio.Task[None]] = set()
        self._replies: Outbox[_Reply] = Outbox()
        self._writing_count = 0
        self._owes_notice = False
        self._owes_sign = False
        self._no_more_calls = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def serve(self) -> None:
        """Returns when the client has disconnected, or when it sends no more calls and all are
        answered. Raises BrokenRules."""
        reading = asyncio.create_task(self._keep_reading(), name="lane-reader")
        writing = asyncio.create_task(self._keep_writing(reading), name="lane-writer")
        try:
            await asyncio.wait((reading, writing), return_when=asyncio.FIRST_EXCEPTION)
            for task in (reading, writing):
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            for task in (reading, writing, *self._running.values()):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    def drain(self) -> None:
        """Notifies the client that it must send no new calls."""
        self._owes_notice = True
        self._news.set()

    async def _keep_reading(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            try:
                batch = lane_pb2.CallBatch.FromString(message)
            except DecodeError as error:
                raise BrokenRules("a message is no CallBatch") from error
            self._take(batch)
            # Backpressure: an unread stream makes gRPC's flow control stop the client.
            while self._is_full():
                self._room.clear()
                await self._room.wait()
        self._no_more_calls = True
        self._news.set()

    def _take(self, batch: lane_pb2.CallBatch) -> None:
        for call in batch.calls:
            call_id, sent = call.id, call.metadata
            if call_id in self._running:
                raise BrokenRules("two calls under way have one id")
            # dict(sent) would go through generators of protobuf's Python code.
            metadata = {key: sent[key] for key in sent}
            if self._client_address is not None:
                metadata[CLIENT_ADDRESS] = self._client_address
            self._running[call_id] = self._loop.create_task(
                self._run(call_id, call.method, call.request, metadata, call.timeout_ms)
            )
        for call_id in batch.cancelled_ids:
            self._cancel(call_id)
        if batch.ping:
            self._owes_sign = True
            self._news.set()
        if batch.no_more_calls:
            self._no_more_calls = True
            self._news.set()

    def _is_full(self) -> bool:
        held_count = len(self._running) + len(self._replies) + self._writing_count
        return (
            held_count >= self._max_held_calls
            or self._replies.size_bytes >= self._max_held_reply_bytes
        )

    def _cancel(self, call_id: int) -> None:
        task = self._running.pop(call_id, None)
        if task is None:
            return
        task.cancel()
        self._cancelled.add(task)  # the event loop keeps only weak references to tasks
        task.add_done_callback(self._cancelled.discard)
        self._news.set()

    async def _run(
        self, call_id: int, path: str, request: bytes, metadata: dict[str, str], timeout_ms: int
    ) -> None:
        method = self._dispatcher.find(path)
        config = UNKNOWN if method is None else method.config
        deadline = Deadline.after(config.seconds_for(timeout_ms / 1000 if timeout_ms else None))
        response: bytes | None = None
        status: status_pb2.Status | None = None
        try:
            if method is not None and method.streams:
                raise Unimplemented(f"{path} streams; call it by itself.", reason="METHOD_STREAMS")
            response = await self._dispatcher.handle(path, request, metadata, deadline)
            if len(response) > MAX_RESPONSE_BYTES:
                size_bytes, response = len(response), None
                raise MessageTooLarge("response", size_bytes, MAX_RESPONSE_BYTES)
        except MeshError as error:
            status = to_status(error)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and was_asked_to_end():
                raise
            # One call's failure must not end the lane.
            log.error("fail_call", method=path, exc_info=error)
            status = to_status(Internal("Something went wrong here."))
        # A cancelled call was already removed; it gets no reply.
        if self._running.pop(call_id, None) is not None:
            size_bytes = len(response or b"") if status is None else status.ByteSize()
            self._replies.put(call_id, (call_id, response, status), size_bytes)
            self._news.set()

    async def _keep_writing(self, reading: asyncio.Task[None]) -> None:
        await self._context.write(lane_pb2.ReplyBatch().SerializeToString())
        while not self._is_over():
            await self._news.wait()
            self._news.clear()
            while self._replies or self._owes_notice or self._owes_sign:
                await self._context.write(self._next_batch().SerializeToString())
                self._writing_count = 0
                self._room.set()
        reading.cancel()

    def _is_over(self) -> bool:
        return self._no_more_calls and not self._running and not self._replies

    def _next_batch(self) -> lane_pb2.ReplyBatch:
        batch = lane_pb2.ReplyBatch()
        if self._owes_notice:
            batch.draining = True
        self._owes_notice = self._owes_sign = False
        replies = self._replies.take()
        self._writing_count = len(replies)
        self._observe_replies(len(replies))
        add = batch.replies.add
        for call_id, response, status in replies:
            if status is None:
                add(id=call_id, response=response)
            else:
                add(id=call_id, error=status)
        return batch
