"""What is a lane's own: shared messages, bounds, its opening, its rules, its end."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mesh.calling.transport import ConnectionBroken, NoAnswer, UnfitMetadata
from mesh.calls import AUTHORIZATION
from mesh.deadlines import Deadline
from mesh.errors import FailedPrecondition, InvalidArgument, Unauthenticated, Unimplemented
from mesh.identity.auth import PLAYER_AUDIENCE, TokenSigner
from mesh.lanes.lane import Lane
from mesh.lanes.limits import EXCHANGE, MAX_METADATA_BYTES, LaneFull, MessageTooLarge
from mesh.lanes.served import ServedLane
from mesh.lanes.transport import LaneTransport
from mesh.process.server import Server
from protos.mesh.v1 import lane_pb2
from tests.unit.mesh.echo import ECHO, STREAM, USER_ID, Callers, Echo, echo_server
from tests.unit.registry.running import until


class House:
    """A running server, and a transport that leads to it."""

    def __init__(self) -> None:
        self.callers = Callers()
        self.echo = Echo()
        self.server: Server = echo_server(self.callers.key, self.echo)
        self.transport = LaneTransport(self.callers.identity.token)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def call(self, request: bytes, method: str = ECHO, seconds: float = 5.0) -> bytes:
        return await self.transport.call(
            self.address, method, request, self.callers.metadata, seconds
        )


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.server.start()
    yield house
    await house.transport.close()
    await house.server.stop(0)


class ScriptedStream:
    """The client's end of a stream: keeps what is written, gives what the test says."""

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
        self._incoming.put_nowait(batch.SerializeToString())

    def answer(self, *call_ids: int) -> None:
        reply = lane_pb2.LaneReply
        self.say(lane_pb2.ReplyBatch(replies=[reply(id=i, response=b"%d" % i) for i in call_ids]))

    def break_off(self) -> None:
        self._incoming.put_nowait(grpc.aio.EOF)


def begin(lane: Lane, *requests: bytes, seconds: float = 5.0) -> "list[asyncio.Task[bytes]]":
    return [asyncio.create_task(lane.call(ECHO, each, {}, seconds)) for each in requests]


async def test_calls_that_are_made_together_share_a_message() -> None:
    stream = ScriptedStream()
    lane = Lane(stream)
    calls = begin(lane, *(b"%d" % number for number in range(300)))
    await until(lambda: sum(len(batch.calls) for batch in stream.written) == 300)
    assert [len(batch.calls) for batch in stream.written] == [256, 44]
    assert [call.request for call in stream.written[1].calls] == [
        b"%d" % number for number in range(256, 300)
    ]
    stream.answer(*range(300, 0, -1))
    assert await asyncio.gather(*calls) == [b"%d" % number for number in range(1, 301)]
    await lane.close()


async def test_what_comes_while_a_message_is_written_goes_with_the_next() -> None:
    stream = ScriptedStream()
    lane = Lane(stream)
    stream.may_write.clear()
    calls = begin(lane, b"first")
    await asyncio.sleep(0.01)
    calls += begin(lane, b"second", b"third")
    await asyncio.sleep(0.01)
    stream.may_write.set()
    await until(lambda: len(stream.written) == 2)
    sent = [[call.request for call in batch.calls] for batch in stream.written]
    assert sent == [[b"first"], [b"second", b"third"]]
    await lane.close()
    await asyncio.wait(calls)


async def test_what_waits_for_a_lane_is_bounded_in_calls_and_in_bytes() -> None:
    stream = ScriptedStream()
    stream.may_write.clear()
    lane = Lane(stream, max_unsent_calls=3, max_unsent_bytes=1000)
    calls = begin(lane, b"under way")
    await asyncio.sleep(0.01)
    calls += begin(lane, b"1", b"2", b"3")
    await asyncio.sleep(0.01)
    with pytest.raises(LaneFull) as caught:
        await lane.call(ECHO, b"4", {}, 5.0)
    assert (caught.value.reason, caught.value.retry_after_seconds) == ("LANE_FULL", 1.0)
    calls.pop().cancel()
    await asyncio.sleep(0.01)
    calls += begin(lane, b"y" * 2000)
    calls.pop(1).cancel()
    await asyncio.sleep(0.01)
    with pytest.raises(LaneFull):
        await lane.call(ECHO, b"5", {}, 5.0)
    await lane.close()
    await asyncio.wait(calls)


async def test_a_call_withdrawn_before_it_was_sent_is_never_sent() -> None:
    stream = ScriptedStream()
    stream.may_write.clear()
    lane = Lane(stream)
    (sent,) = begin(lane, b"sent")
    await asyncio.sleep(0.01)
    cancelled, late, kept = [
        *begin(lane, b"cancelled"),
        *begin(lane, b"late", seconds=0.02),
        *begin(lane, b"kept"),
    ]
    await asyncio.sleep(0.01)
    cancelled.cancel()
    with pytest.raises(NoAnswer) as caught:
        await late
    assert not caught.value.was_sent
    stream.may_write.set()
    await until(lambda: len(stream.written) == 2)
    assert [call.request for call in stream.written[1].calls] == [b"kept"]
    assert not stream.written[1].cancelled_ids
    await lane.close()
    await asyncio.wait((sent, cancelled, kept))


async def test_the_server_is_told_of_calls_withdrawn_after_they_were_sent() -> None:
    stream = ScriptedStream()
    lane = Lane(stream)
    (cancelled,), (late,) = begin(lane, b"cancelled"), begin(lane, b"late", seconds=0.2)
    await until(lambda: bool(stream.written))
    cancelled.cancel()
    await until(lambda: len(stream.written) == 2)
    with pytest.raises(NoAnswer) as caught:
        await late
    assert caught.value.was_sent
    await until(lambda: len(stream.written) == 3)
    assert [list(batch.cancelled_ids) for batch in stream.written] == [[], [1], [2]]
    stream.answer(1, 2)  # too late, and no error
    (answered,) = begin(lane, b"next")
    await until(lambda: len(stream.written) == 4)
    stream.answer(3)
    assert await answered == b"3"
    await lane.close()


async def test_a_timeout_counts_from_the_call_and_not_from_the_message() -> None:
    stream = ScriptedStream()
    stream.may_write.clear()
    lane = Lane(stream)
    begin(lane, b"under way")
    await asyncio.sleep(0.01)
    calls = begin(lane, b"waits", seconds=1.0)
    await asyncio.sleep(0.3)
    stream.may_write.set()
    await until(lambda: len(stream.written) == 2)
    assert stream.written[1].calls[0].timeout_ms <= 700
    await lane.close()
    await asyncio.wait(calls)


@pytest.mark.parametrize("is_answered", [True, False])
async def test_a_process_that_stood_still_reads_before_it_gives_calls_up(is_answered: bool) -> None:
    stood_still_seconds = 0.0
    stream = ScriptedStream()
    lane = Lane(stream, clock=lambda: time.monotonic() + stood_still_seconds)
    (call,) = begin(lane, b"under way", seconds=0.2)
    await until(lambda: bool(stream.written))
    stood_still_seconds = 5.0
    await asyncio.sleep(0.3)  # its timer has come
    assert not call.done()
    if is_answered:
        stream.answer(1)
        assert await call == b"1"
    else:
        with pytest.raises(NoAnswer) as caught:
            await call
        assert caught.value.was_sent
        assert not caught.value.was_silent
    await lane.close()


async def test_a_broken_lane_tells_what_was_sent_from_what_was_not() -> None:
    stream = ScriptedStream()
    ended = asyncio.Event()
    lane = Lane(stream, on_end=ended.set)
    (sent,) = begin(lane, b"sent")
    await until(lambda: bool(stream.written))
    stream.may_write.clear()
    (being_written,) = begin(lane, b"being written")
    await asyncio.sleep(0.01)
    (unsent,) = begin(lane, b"unsent")
    await asyncio.sleep(0.01)
    stream.break_off()
    for call, was_sent in ((sent, True), (being_written, True), (unsent, False)):
        with pytest.raises(ConnectionBroken) as caught:
            await call
        assert caught.value.was_sent is was_sent
    assert ended.is_set()
    with pytest.raises(ConnectionBroken) as caught:
        await lane.call(ECHO, b"next", {}, 5.0)
    assert not caught.value.was_sent
    await lane.close()


async def test_what_the_server_should_never_say_ends_the_lane() -> None:
    stream = ScriptedStream()
    lane = Lane(stream)
    calls = begin(lane, b"sent")
    await until(lambda: bool(stream.written))
    stream._incoming.put_nowait(b"\xff\xff")
    with pytest.raises(ConnectionBroken):
        await calls[0]
    assert not lane.takes_calls
    await lane.close()


async def test_a_draining_server_gets_no_new_calls_and_answers_the_old() -> None:
    stream = ScriptedStream()
    lane = Lane(stream)
    (sent,) = begin(lane, b"sent")
    await until(lambda: bool(stream.written))
    stream.may_write.clear()
    begin(lane, b"being written")
    await asyncio.sleep(0.01)
    (unsent,) = begin(lane, b"unsent")
    stream.say(lane_pb2.ReplyBatch(draining=True))
    with pytest.raises(ConnectionBroken) as caught:
        await unsent
    assert not caught.value.was_sent
    with pytest.raises(ConnectionBroken) as caught:
        await lane.call(ECHO, b"new", {}, 5.0)
    assert not caught.value.was_sent
    stream.may_write.set()
    await until(lambda: len(stream.written) == 3)
    assert [batch.no_more_calls for batch in stream.written] == [False, False, True]
    stream.answer(1)
    assert await sent == b"1"
    await lane.close()


async def test_too_much_metadata_fails_its_call_alone(house: House) -> None:
    metadata = {**house.callers.metadata, "x": "y" * MAX_METADATA_BYTES}
    with pytest.raises(MessageTooLarge):
        await house.transport.call(house.address, ECHO, b"hi", metadata, 5.0)
    assert await house.call(b"hi") == b"echo hi"


async def test_calls_that_come_together_open_one_lane(house: House) -> None:
    await asyncio.gather(*(house.call(b"hi") for _ in range(50)))
    assert len(house.server._lanes._lanes) == 1


async def test_a_streaming_method_is_not_carried(house: House) -> None:
    with pytest.raises(Unimplemented) as caught:
        await house.call(b"hi", method=STREAM)
    assert caught.value.reason == "METHOD_STREAMS"


async def test_a_lane_lends_nobody_its_openers_rights(house: House) -> None:
    with pytest.raises(Unauthenticated):
        await house.transport.call(house.address, ECHO, b"hi", {}, 5.0)


@pytest.mark.parametrize("opener", ["nobody", "player", "stranger"])
async def test_only_a_process_of_the_mesh_opens_a_lane(house: House, opener: str) -> None:
    tokens = {
        "nobody": "",
        "player": TokenSigner(house.callers.key, PLAYER_AUDIENCE, 60).sign(USER_ID),
        "stranger": Callers().identity.token(),
    }
    shown = 0

    def token() -> str:
        nonlocal shown
        shown += 1
        return tokens[opener]

    transport = LaneTransport(token)
    for _ in range(20):  # in far less than the backoff's 50 ms
        with pytest.raises(ConnectionBroken) as caught:
            await transport.call(house.address, ECHO, b"hi", house.callers.metadata, 5.0)
        assert not caught.value.was_sent
    assert shown < 20
    assert house.echo.calls == []
    tokens[opener] = house.callers.identity.token()
    async with asyncio.timeout(2.0):
        while True:
            try:
                await transport.call(house.address, ECHO, b"hi", house.callers.metadata, 5.0)
                break
            except ConnectionBroken:
                await asyncio.sleep(0.01)
    await transport.close()


async def test_a_server_has_a_bound_on_its_lanes(house: House) -> None:
    house.server._lanes._max_lanes = 1
    await house.call(b"hi")
    second = LaneTransport(house.callers.identity.token)
    with pytest.raises(ConnectionBroken):
        await second.connect(house.address, 5.0)
    await second.close()


async def test_who_breaks_the_rules_loses_the_lane_and_nobody_else_does(house: House) -> None:
    call = lane_pb2.LaneCall(
        id=7, method=ECHO, request=b"wait", metadata=house.callers.metadata, timeout_ms=5000
    )
    twice = lane_pb2.CallBatch(calls=[call, call]).SerializeToString()
    for message in (twice, b"\xff\xff"):
        async with grpc.aio.insecure_channel(house.address) as channel:
            exchange: Any = channel.stream_stream(EXCHANGE)
            bearer = f"Bearer {house.callers.identity.token()}"
            stream = exchange(metadata=((AUTHORIZATION, bearer),))
            assert await stream.read() == b""
            await stream.write(message)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await until(lambda: house.echo.cancelled.is_set() or not house.echo.calls)
    assert await house.call(b"hi") == b"echo hi"


class Context:
    """The server's end of a stream whose client reads when it is told to."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.written: list[lane_pb2.ReplyBatch] = []
        self.may_write = asyncio.Event()
        self.read_count = 0

    async def read(self) -> Any:
        message = await self.incoming.get()
        await asyncio.sleep(0.001)
        self.read_count += 1
        return message

    async def write(self, message: bytes) -> None:
        await self.may_write.wait()
        self.written.append(lane_pb2.ReplyBatch.FromString(message))

    def send(self, *call_ids: int, request: bytes = b"hi") -> None:
        calls = [lane_pb2.LaneCall(id=i, method="m", request=request) for i in call_ids]
        self.incoming.put_nowait(lane_pb2.CallBatch(calls=calls).SerializeToString())


class Answers:
    """Stands where the dispatcher does; refuses what it is told to refuse."""

    def __init__(self) -> None:
        self.deadlines: list[Deadline] = []

    def find(self, path: str) -> None:
        return None

    async def handle(
        self, path: str, request: bytes, metadata: dict[str, str], deadline: Deadline
    ) -> bytes:
        self.deadlines.append(deadline)
        if request == b"refuse":
            raise FailedPrecondition("No.")
        if request == b"bug":
            raise LookupError("the dispatcher itself is broken")
        return request


@pytest.mark.parametrize("bound", ["calls", "bytes"])
async def test_whose_replies_are_not_read_has_no_further_calls_read(bound: str) -> None:
    context = Context()
    answers: Any = Answers()
    bounds: dict[str, Any] = (
        {"max_held_calls": 4} if bound == "calls" else {"max_held_reply_bytes": 40}
    )
    serving = asyncio.create_task(ServedLane(context, answers, **bounds).serve())
    for number in range(10):
        context.send(2 * number, 2 * number + 1, request=b"x" * 10)
    await asyncio.sleep(0.05)
    assert context.read_count <= 4
    context.may_write.set()
    await until(lambda: sum(len(batch.replies) for batch in context.written) == 20)
    context.incoming.put_nowait(grpc.aio.EOF)
    await asyncio.wait_for(serving, 5.0)


async def test_a_failure_within_ends_its_call_alone() -> None:
    context = Context()
    context.may_write.set()
    answers: Any = Answers()
    serving = asyncio.create_task(ServedLane(context, answers).serve())
    for call_id, request in enumerate((b"refuse", b"bug", b"hi")):
        context.send(call_id, request=request)
    await until(lambda: sum(len(batch.replies) for batch in context.written) == 3)
    replies = {reply.id: reply for batch in context.written for reply in batch.replies}
    assert [replies[i].error.code for i in range(3)] == [9, 13, 0]
    assert replies[2].response == b"hi"
    assert "broken" not in replies[1].error.message
    context.incoming.put_nowait(grpc.aio.EOF)
    await asyncio.wait_for(serving, 5.0)


async def test_a_call_without_a_timeout_gets_the_servers() -> None:
    context = Context()
    context.may_write.set()
    answers: Any = Answers()
    serving = asyncio.create_task(ServedLane(context, answers).serve())
    context.send(1)
    await until(lambda: bool(answers.deadlines))
    assert 9.0 < answers.deadlines[0].remaining_seconds() <= 10.0
    context.incoming.put_nowait(grpc.aio.EOF)
    await asyncio.wait_for(serving, 5.0)


async def test_a_lane_whose_client_has_no_more_calls_ends_once_all_are_answered() -> None:
    context = Context()
    answers: Any = Answers()
    lane = ServedLane(context, answers)
    serving = asyncio.create_task(lane.serve())
    context.send(1, 2)
    lane.drain()
    farewell = lane_pb2.CallBatch(no_more_calls=True)
    context.incoming.put_nowait(farewell.SerializeToString())
    await asyncio.sleep(0.05)
    assert not serving.done()
    context.may_write.set()
    await asyncio.wait_for(serving, 5.0)
    assert [batch.draining for batch in context.written].count(True) == 1
    assert sum(len(batch.replies) for batch in context.written) == 2


async def test_a_slow_call_is_told_from_a_silent_server_by_signs_of_life() -> None:
    for gives_signs in (True, False):
        stream = ScriptedStream()
        lane = Lane(stream)
        (slow,) = begin(lane, b"slow", seconds=1.6)
        answered_count = 0
        while not slow.done():
            asking = sum(batch.asks_for_sign_of_life for batch in stream.written)
            if gives_signs and asking > answered_count:
                answered_count = asking
                stream.say(lane_pb2.ReplyBatch())
            await asyncio.sleep(0.01)
        assert asking == (answered_count if gives_signs else 1)
        with pytest.raises(NoAnswer) as caught:
            await slow
        assert caught.value.was_silent is not gives_signs
        await lane.close()


async def test_a_server_gives_a_sign_of_life_while_all_its_calls_wait(house: House) -> None:
    with pytest.raises(NoAnswer) as caught:
        await house.call(b"wait", seconds=1.6)
    assert not caught.value.was_silent


async def test_metadata_that_cannot_be_written_fails_its_own_call_alone(house: House) -> None:
    waiting = asyncio.create_task(house.call(b"wait"))
    await until(lambda: bool(house.echo.calls))
    for text in ("caf\u00e9", "\udc80"):
        for metadata in ({"x": text}, {text: "x"}):
            with pytest.raises(UnfitMetadata):
                await house.transport.call(house.address, ECHO, b"hi", metadata, 5.0)
    house.echo.release.set()
    assert await waiting == b"echo wait"


async def test_errors_that_echo_a_lot_leave_the_lane_whole(house: House) -> None:
    waiting = asyncio.create_task(house.call(b"wait"))
    await until(lambda: bool(house.echo.calls))
    echoes = [asyncio.create_task(house.call(b"echo-error 60000")) for _ in range(300)]
    for echo in echoes:
        with pytest.raises(InvalidArgument) as caught:
            await echo
        assert caught.value.reason == "ECHO"
    house.echo.release.set()
    assert await waiting == b"echo wait"
