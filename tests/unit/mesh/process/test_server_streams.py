"""The streams of every server, health and reflection, cannot be taken by strangers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from mesh.calls import CLIENT_ADDRESS
from mesh.contract.access import OPEN
from mesh.contract.methods import Method
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.identity.service_identity import ServiceIdentity
from mesh.process.health import Health
from mesh.process.reflection import Reflection
from mesh.process.server import Server
from mesh.serving.callers import CallerBounds
from mesh.serving.contexts import metadata_of
from mesh.serving.dispatch import Dispatcher
from mesh.serving.streams import StreamSlots

KEY = Ed25519PrivateKey.generate()
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
METHOD, OWN = "/a.v1.A/Stream", "/a.v1.A/Own"
LIST = reflection_pb2.ServerReflectionRequest(list_services="")
SERVING = health_pb2.HealthCheckResponse.SERVING


def shown(key: Ed25519PrivateKey) -> tuple[tuple[str, str], ...]:
    """What service a shows to service b, signed with this key."""
    return tuple(ServiceIdentity(key, "a").towards("b").metadata().items())


async def is_ready() -> bool:
    return True


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """It has two streams of a kind for strangers, and two for members."""
    keys = fixed_service_keys({"a": KEY.public_key()})
    authenticator = Authenticator("b", player_keys=fixed_keys(), service_keys=keys)
    dispatcher = Dispatcher((), authenticator, stream_bounds=CallerBounds(2, 2, 2))
    server = Server("127.0.0.1:0", ["a.v1.A"], dispatcher, is_ready)
    await server.start()
    yield server
    await server.stop(0)


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


def watch_health(channel: grpc.aio.Channel, metadata: Any = ()) -> Any:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Watch(health_pb2.HealthCheckRequest(), metadata=metadata)


def reflect(channel: grpc.aio.Channel, metadata: Any = ()) -> Any:
    method = channel.stream_stream(
        REFLECTION,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return method(_endless(), metadata=metadata)


async def _endless() -> AsyncIterator[Any]:
    yield LIST
    await asyncio.Event().wait()


@pytest.mark.parametrize("open_stream", [watch_health, reflect])
async def test_strangers_take_no_stream_of_a_member(
    channel: grpc.aio.Channel, open_stream: Any
) -> None:
    strangers = [open_stream(channel), open_stream(channel, shown(Ed25519PrivateKey.generate()))]
    for each in strangers:
        assert await each.read()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await open_stream(channel).read()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    members = [open_stream(channel, shown(KEY)), open_stream(channel, shown(KEY))]
    for each in members:
        assert await each.read()
    strangers[0].cancel()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await open_stream(channel).read()
                return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)


async def test_open_streams_do_not_hold_up_the_end_of_a_server(
    server: Server, channel: grpc.aio.Channel
) -> None:
    streams = [watch_health(channel), reflect(channel)]
    for each in streams:
        assert await each.read()
    await server.refuse_new_calls()
    assert (await streams[0].read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    await asyncio.sleep(0.1)  # as a process does, so that the message has left
    began = time.monotonic()
    await server.stop(30)
    assert time.monotonic() - began < 5


async def test_a_reflection_that_sends_nothing_ends_in_time() -> None:
    async def no_requests() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    slots = StreamSlots(is_stranger, CallerBounds(2, 2, 2))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(tuple(Reflection((), slots, stranger_seconds=0.2).handlers()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method: Any = channel.stream_stream(REFLECTION)
        call = method(no_requests())
        async with asyncio.timeout(10):
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert "another" in await call.details()
    await server.stop(0)


async def never_ends(_request: bytes, _call: object) -> AsyncIterator[bytes]:
    yield b"first"
    await asyncio.Event().wait()


class OwnStream(grpc.GenericRpcHandler):
    """A stream that the dispatcher does not run, as discovery is one."""

    def __init__(self, slots: StreamSlots) -> None:
        self._slots = slots

    def service(self, details: Any) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        return grpc.stream_stream_rpc_method_handler(self._serve) if details.method == OWN else None

    async def _serve(self, _requests: Any, context: Any) -> None:
        async with self._slots.slot(metadata_of(context)):
            await context.write(b"first")
            await asyncio.Event().wait()


async def test_streams_of_every_kind_end_with_their_server() -> None:
    authenticator = Authenticator(
        "b", player_keys=fixed_keys(), service_keys=fixed_service_keys({})
    )
    method = Method(METHOD, OPEN, True, bytes, never_ends, bytes)
    dispatcher = Dispatcher((method,), authenticator)
    own = OwnStream(dispatcher.stream_slots())
    server = Server("127.0.0.1:0", (), dispatcher, is_ready, streams=(own,))
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        streams: list[Any] = [channel.stream_stream(path)() for path in (METHOD, OWN)]
        for each in streams:
            await each.write(b"")
            assert await each.read() == b"first"
        async with asyncio.timeout(5):
            await server.stop(30)
        for each in streams:
            assert await each.code() is not grpc.StatusCode.OK


STRANGER = {CLIENT_ADDRESS: "192.0.2.1"}


async def is_stranger(_metadata: object) -> bool:
    return False


async def test_a_watcher_that_does_not_read_delays_no_change() -> None:
    health = Health(StreamSlots(is_stranger, CallerBounds(9, 9, 9)))
    health.set("", is_serving=False)
    async with (
        aclosing(health.watch(health_pb2.HealthCheckRequest(), None, STRANGER)) as slow,  # type: ignore[type-var]
        aclosing(health.watch(health_pb2.HealthCheckRequest(), None, STRANGER)) as fast,  # type: ignore[type-var]
    ):
        assert (await anext(slow)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        # `slow` is now where a write waits for its client.
        await anext(fast)
        health.set("", is_serving=True)
        assert (await anext(fast)).status == SERVING
        health.set("", is_serving=False)
        health.set("", is_serving=True)
        assert (await anext(slow)).status == SERVING  # states between were skipped
        health.leave()
        health.set("", is_serving=True)
        assert (await anext(slow)).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_service_that_appears_is_seen_by_its_watcher() -> None:
    health = Health(StreamSlots(is_stranger, CallerBounds(9, 9, 9)))
    request = health_pb2.HealthCheckRequest(service="late")
    async with aclosing(health.watch(request, None, STRANGER)) as watched:  # type: ignore[type-var]
        first = (await anext(watched)).status
        assert first == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        health.set("late", is_serving=True)
        assert (await anext(watched)).status == SERVING
