"""A server, a lane transport to it, and streams whose messages a test writes."""

import asyncio
from typing import Any

import grpc

from mesh.lanes.lane import Lane
from mesh.lanes.limits import MAX_LANES
from mesh.lanes.transport import LaneTransport
from mesh.process.server import Server
from protos.mesh.v1 import lane_pb2
from tests.unit.mesh.echo import ECHO, Callers, Echo, echo_server


class Link:
    """A running server, and a transport to it."""

    def __init__(self, max_lanes: int = MAX_LANES) -> None:
        self.callers = Callers()
        self.echo = Echo()
        self.server: Server = echo_server(self.callers.key, self.echo, max_lanes=max_lanes)
        self.transport = LaneTransport(self._token)
        self.opening_count = 0
        """How often the transport has shown its token, which opens a lane."""

    def _token(self) -> str:
        self.opening_count += 1
        return self.callers.credential.token()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def call(self, request: bytes, method: str = ECHO, seconds: float = 5.0) -> bytes:
        return await self.transport.call(
            self.address, method, request, self.callers.metadata, seconds
        )


class ScriptedStream:
    """The client's end of a stream: records what is written, and reads what the test sets."""

    def __init__(self) -> None:
        self.written: list[lane_pb2.CallBatch] = []
        self.may_write = asyncio.Event()
        self.may_write.set()
        self._incoming: asyncio.Queue[Any] = asyncio.Queue()

    async def write(self, message: bytes) -> None:
        await self.may_write.wait()
        self.written.append(lane_pb2.CallBatch.FromString(message))

    async def read(self) -> Any:
        return await self._incoming.get()

    def cancel(self) -> None:
        pass

    def say(self, batch: lane_pb2.ReplyBatch) -> None:
        self.say_bytes(batch.SerializeToString())

    def say_bytes(self, message: bytes) -> None:
        self._incoming.put_nowait(message)

    def answer(self, *call_ids: int) -> None:
        reply = lane_pb2.LaneReply
        self.say(lane_pb2.ReplyBatch(replies=[reply(id=i, response=b"%d" % i) for i in call_ids]))

    def break_off(self) -> None:
        self._incoming.put_nowait(grpc.aio.EOF)


def begin(lane: Lane, *requests: bytes, seconds: float = 5.0) -> "list[asyncio.Task[bytes]]":
    return [asyncio.create_task(lane.call(ECHO, each, {}, seconds)) for each in requests]
