"""The gRPC transport with a real server, and without one."""

import asyncio
import socket
from collections.abc import AsyncIterator
from time import monotonic

import grpc
import pytest

from mesh.calling.transport import ConnectionBroken, NoAnswer
from mesh.calling.unary import UnaryTransport
from mesh.errors import Code, FailedPrecondition, MeshError, Unavailable
from mesh.status import DETAILS_KEY, to_status
from tests.unit.registry.running import until

METHOD = "/any.v1.Service/Method"
ERRORS: dict[bytes, MeshError] = {
    b"refuse": FailedPrecondition("Too poor.", reason="POOR", metadata={"gems": "1"}),
    b"away": Unavailable("Away.", reason="DATABASE_AWAY"),
}


class EchoServer(grpc.GenericRpcHandler):
    """Answers, refuses or sleeps, depending on the request."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.seen_metadata: dict[str, str | bytes] = {}
        self.server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        self.server.add_generic_rpc_handlers((self,))
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        await self.server.start()

    def service(self, details: object) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(
        self, request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> bytes:
        self.seen_metadata = dict(context.invocation_metadata() or ())
        if request == b"sleep":
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        error = ERRORS.get(request)
        if error is not None:
            trailers = ((DETAILS_KEY, to_status(error).SerializeToString()),)
            code = {status.value[0]: status for status in grpc.StatusCode}[int(error.code)]
            await context.abort(code, error.message, trailers)
        if request == b"garbage":
            trailers = ((DETAILS_KEY, b"\xff\xff\xff"),)
            await context.abort(grpc.StatusCode.INTERNAL, "odd", trailers)
        return b"echo " + request


@pytest.fixture
async def server() -> AsyncIterator[EchoServer]:
    server = EchoServer()
    await server.start()
    yield server
    await server.server.stop(0)


@pytest.fixture
async def transport() -> AsyncIterator[UnaryTransport]:
    transport = UnaryTransport(closing_grace_seconds=0.1)
    yield transport
    await transport.close()


def address_of(server: EchoServer) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def dead_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


async def test_bytes_and_metadata_arrive(server: EchoServer, transport: UnaryTransport) -> None:
    metadata = {"authorization": "Bearer token", "x-request-id": "r-1"}
    assert await transport.call(address_of(server), METHOD, b"hi", metadata, 5.0) == b"echo hi"
    assert metadata.items() <= server.seen_metadata.items()


async def test_the_servers_error_arrives_whole(
    server: EchoServer, transport: UnaryTransport
) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await transport.call(address_of(server), METHOD, b"refuse", {}, 5.0)
    assert (caught.value.message, caught.value.reason) == ("Too poor.", "POOR")
    assert caught.value.metadata == {"gems": "1"}


async def test_a_server_that_says_unavailable_is_distinguished_from_a_broken_connection(
    server: EchoServer, transport: UnaryTransport
) -> None:
    with pytest.raises(Unavailable) as caught:
        await transport.call(address_of(server), METHOD, b"away", {}, 5.0)
    assert not isinstance(caught.value, ConnectionBroken)
    assert caught.value.reason == "DATABASE_AWAY"


async def test_details_that_cannot_be_read_are_left_out(
    server: EchoServer, transport: UnaryTransport
) -> None:
    with pytest.raises(MeshError) as caught:
        await transport.call(address_of(server), METHOD, b"garbage", {}, 5.0)
    assert caught.value.code is Code.INTERNAL


async def test_no_answer_in_time_is_reported_as_such(
    server: EchoServer, transport: UnaryTransport
) -> None:
    with pytest.raises(NoAnswer) as caught:
        await transport.call(address_of(server), METHOD, b"sleep", {}, 1.0)
    assert caught.value.was_sent
    await asyncio.wait_for(server.cancelled.wait(), 5.0)


async def test_a_connection_lost_during_the_call_may_have_delivered_it(
    server: EchoServer, transport: UnaryTransport
) -> None:
    calling = asyncio.create_task(transport.call(address_of(server), METHOD, b"sleep", {}, 5.0))
    await until(lambda: bool(server.seen_metadata))
    await server.server.stop(0)
    with pytest.raises(ConnectionBroken) as caught:
        await calling
    assert caught.value.was_sent


async def test_without_a_listener_no_connection_is_made(
    transport: UnaryTransport, dead_address: str
) -> None:
    with pytest.raises(ConnectionBroken) as caught:
        await transport.connect(dead_address, 5.0)
    assert not caught.value.was_sent
    with pytest.raises(ConnectionBroken):
        await transport.call(dead_address, METHOD, b"hi", {}, 5.0)


async def test_a_connection_that_does_not_come_about_is_given_up_in_time(
    transport: UnaryTransport,
) -> None:
    with socket.socket() as mute:  # the kernel accepts, and no answer ever comes
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        began = monotonic()
        with pytest.raises((NoAnswer, ConnectionBroken)) as caught:
            await transport.connect(f"127.0.0.1:{mute.getsockname()[1]}", 0.2)
    assert isinstance(caught.value, NoAnswer | ConnectionBroken)
    assert not caught.value.was_sent
    assert monotonic() - began < 5.0


async def test_connecting_is_idempotent(server: EchoServer, transport: UnaryTransport) -> None:
    await transport.connect(address_of(server), 5.0)
    await transport.connect(address_of(server), 0.001)


async def test_a_server_that_comes_up_later_is_found_soon(
    transport: UnaryTransport, dead_address: str
) -> None:
    for _ in range(5):
        with pytest.raises(ConnectionBroken):
            await transport.call(dead_address, METHOD, b"hi", {}, 5.0)
        await asyncio.sleep(0.1)
    server = EchoServer()
    await server.start(int(dead_address.rpartition(":")[2]))
    began = monotonic()
    while True:
        try:
            await transport.call(dead_address, METHOD, b"hi", {}, 5.0)
            break
        except ConnectionBroken:
            await asyncio.sleep(0.01)
    assert monotonic() - began < 5.0
    await server.server.stop(0)


async def test_cancelling_the_caller_cancels_the_call_on_the_server(
    server: EchoServer, transport: UnaryTransport
) -> None:
    calling = asyncio.create_task(transport.call(address_of(server), METHOD, b"sleep", {}, 30.0))
    await until(lambda: bool(server.seen_metadata))
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.wait_for(server.cancelled.wait(), 5.0)


async def test_an_unwanted_connection_is_closed_after_its_grace(
    server: EchoServer, transport: UnaryTransport
) -> None:
    await transport.connect(address_of(server), 5.0)
    transport.retain([])
    assert transport.connected_addresses == {address_of(server)}
    await until(lambda: not transport.connected_addresses)
    assert await transport.call(address_of(server), METHOD, b"hi", {}, 5.0) == b"echo hi"


async def test_a_connection_that_is_wanted_again_stays(
    server: EchoServer, transport: UnaryTransport
) -> None:
    await transport.connect(address_of(server), 5.0)
    transport.retain([])
    transport.retain([address_of(server)])
    await asyncio.sleep(0.2)  # no call reopens a closed connection during this time
    assert transport.connected_addresses == {address_of(server)}
