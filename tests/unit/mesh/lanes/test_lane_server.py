"""The server's side of a lane: who may open one, how many, and the server's answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mesh.calling.transport import ConnectionBroken, NoAnswer
from mesh.calls import AUTHORIZATION, Metadata
from mesh.contract.access import Rule
from mesh.deadlines import Deadline
from mesh.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Unauthenticated,
    Unimplemented,
)
from mesh.identity.auth import Authenticator, Identity
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner
from mesh.lanes.lane import Lane
from mesh.lanes.limits import EXCHANGE, MAX_METADATA_BYTES, MessageTooLarge
from mesh.lanes.served import ServedLane
from mesh.lanes.transport import LaneTransport
from mesh.process.server import Server
from mesh.serving.dispatch import Dispatcher
from protos.mesh.v1 import lane_pb2
from tests.unit.mesh.echo import ECHO, STREAM, USER_ID, Callers
from tests.unit.mesh.lanes.lane_link import Link, ScriptedStream, begin
from tests.unit.registry.running import until


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    link = Link()
    await link.server.start()
    yield link
    await link.transport.close()
    await link.server.stop(0)


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


async def test_too_much_metadata_fails_its_call_alone(link: Link) -> None:
    metadata = {**link.callers.metadata, "x": "y" * MAX_METADATA_BYTES}
    with pytest.raises(MessageTooLarge):
        await link.transport.call(link.address, ECHO, b"hi", metadata, 5.0)
    assert await link.call(b"hi") == b"echo hi"


async def test_calls_that_come_together_open_one_lane(link: Link) -> None:
    await asyncio.gather(*(link.call(b"hi") for _ in range(50)))
    assert link.opening_count == 1


async def test_a_call_that_is_cancelled_from_within_is_answered(link: Link) -> None:
    with pytest.raises(Internal):
        await link.call(b"lose-itself", seconds=2.0)
    assert await link.call(b"hi") == b"echo hi"


async def test_a_streaming_method_is_not_carried(link: Link) -> None:
    with pytest.raises(Unimplemented) as caught:
        await link.call(b"hi", method=STREAM)
    assert caught.value.reason == "METHOD_STREAMS"


async def test_a_lane_does_not_lend_its_openers_rights(link: Link) -> None:
    with pytest.raises(Unauthenticated):
        await link.transport.call(link.address, ECHO, b"hi", {}, 5.0)


@pytest.mark.parametrize("opener", ["nobody", "player", "stranger"])
async def test_only_a_process_of_the_mesh_opens_a_lane(link: Link, opener: str) -> None:
    tokens = {
        "nobody": "",
        "player": TokenSigner(link.callers.key, PLAYER_AUDIENCE, 60).sign(USER_ID, sid=USER_ID),
        "stranger": Callers().credential.token(),
    }
    shown = 0

    def token() -> str:
        nonlocal shown
        shown += 1
        return tokens[opener]

    transport = LaneTransport(token)
    for _ in range(20):  # in far less than the backoff's 50 ms
        with pytest.raises(ConnectionBroken) as caught:
            await transport.call(link.address, ECHO, b"hi", link.callers.metadata, 5.0)
        assert not caught.value.was_sent
    assert shown < 20
    assert link.echo.calls == []
    tokens[opener] = link.callers.credential.token()
    async with asyncio.timeout(2.0):
        while True:
            try:
                await transport.call(link.address, ECHO, b"hi", link.callers.metadata, 5.0)
                break
            except ConnectionBroken:
                await asyncio.sleep(0.01)
    await transport.close()


async def test_a_server_has_a_bound_on_its_lanes() -> None:
    link = Link(max_lanes=1)
    await link.server.start()
    await link.call(b"hi")
    second = LaneTransport(link.callers.credential.token)
    with pytest.raises(ConnectionBroken):
        await second.connect(link.address, 5.0)
    await second.close()
    await link.transport.close()
    await link.server.stop(0)


class SlowAuthenticator(Authenticator):
    """It finds out who calls only after a moment, when others have come."""

    async def authenticate(self, metadata: Metadata, rule: Rule) -> Identity:
        await asyncio.sleep(0.1)
        return await super().authenticate(metadata, rule)


async def test_lanes_that_open_at_once_do_not_pass_the_bound() -> None:
    callers = Callers()
    keys = fixed_service_keys({"gacha_svc": callers.key.public_key()})
    authenticator = SlowAuthenticator("echo_svc", player_keys=fixed_keys(), service_keys=keys)
    server = Server("127.0.0.1:0", (), Dispatcher((), authenticator), always, max_lanes=2)
    await server.start()
    transports = [LaneTransport(callers.credential.token) for _ in range(6)]
    openings = (each.connect(server.address, 5.0) for each in transports)
    results = await asyncio.gather(*openings, return_exceptions=True)
    assert results.count(None) == 2
    assert sum(isinstance(each, ConnectionBroken) for each in results) == 4
    for each in transports:
        await each.close()
    await server.stop(0)


async def always() -> bool:
    return True


async def test_a_client_that_violates_the_protocol_loses_only_its_own_lane(link: Link) -> None:
    call = lane_pb2.LaneCall(
        id=7, method=ECHO, request=b"wait", metadata=link.callers.metadata, timeout_ms=5000
    )
    twice = lane_pb2.CallBatch(calls=[call, call]).SerializeToString()
    for message in (twice, b"\xff\xff"):
        async with grpc.aio.insecure_channel(link.address) as channel:
            exchange: Any = channel.stream_stream(EXCHANGE)
            bearer = f"Bearer {link.callers.credential.token()}"
            stream = exchange(metadata=((AUTHORIZATION, bearer),))
            assert await stream.read() == b""
            await stream.write(message)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await until(lambda: link.echo.cancelled.is_set() or not link.echo.calls)
    assert await link.call(b"hi") == b"echo hi"


class Context:
    """The server's end of a stream; its client reads when the test says so."""

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
    """Replaces the dispatcher; refuses the calls that the test names."""

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
async def test_no_calls_are_read_from_a_client_that_does_not_read_replies(bound: str) -> None:
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


async def test_a_server_gives_a_sign_of_life_while_all_its_calls_wait(link: Link) -> None:
    with pytest.raises(NoAnswer) as caught:
        await link.call(b"wait", seconds=1.6)
    assert not caught.value.showed_no_life


async def test_errors_that_echo_a_lot_leave_the_lane_whole(link: Link) -> None:
    waiting = asyncio.create_task(link.call(b"wait", seconds=60.0))
    await until(lambda: bool(link.echo.calls))
    echoes = [asyncio.create_task(link.call(b"echo-error 60000", seconds=60.0)) for _ in range(300)]
    for echo in echoes:
        with pytest.raises(InvalidArgument) as caught:
            await echo
        assert caught.value.reason == "ECHO"
    link.echo.release.set()
    assert await waiting == b"echo wait"
