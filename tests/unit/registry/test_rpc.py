"""The registry's methods, called over real gRPC."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.message import Message

from mesh.calling.unary import UnaryTransport
from mesh.calls import AUTHORIZATION
from mesh.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from mesh.serving.callers import CallerBounds
from protos.registry.v1 import registry_pb2 as pb
from tests.unit.registry.running import RunningRegistry, token, until

PREFIX = "/registry.v1.RegistryService/"
INSTANCE = pb.Instance(id="a-1", service="a", address="127.0.0.1:1")


class Client:
    """Calls a registry, with a service token unless another token is given."""

    def __init__(self, address: str) -> None:
        self.transport = UnaryTransport()
        self._address = address

    async def call(self, method: str, request: bytes, bearer: str | None = None) -> bytes:
        bearer = token() if bearer is None else bearer
        metadata = {AUTHORIZATION: f"Bearer {bearer}"} if bearer else {}
        return await self.transport.call(self._address, PREFIX + method, request, metadata, 5.0)

    async def register(self, instance: pb.Instance = INSTANCE) -> pb.RegisterResponse:
        request = pb.RegisterRequest(instance=instance).SerializeToString()
        bearer = token(instance.service)
        return pb.RegisterResponse.FromString(await self.call("Register", request, bearer))

    async def heartbeat(self, lease_id: str, state: int = 0) -> None:
        request = pb.HeartbeatRequest(lease_id=lease_id)
        request.state = state  # type: ignore[assignment]
        await self.call("Heartbeat", request.SerializeToString())

    async def deregister(self, lease_id: str) -> None:
        request = pb.DeregisterRequest(lease_id=lease_id)
        await self.call("Deregister", request.SerializeToString())

    async def list(self, service: str = "") -> pb.ListResponse:
        request = pb.ListRequest(service=service).SerializeToString()
        return pb.ListResponse.FromString(await self.call("List", request, bearer=""))


@pytest.fixture
async def registry() -> AsyncIterator[RunningRegistry]:
    running = await RunningRegistry.start(stream_bounds=CallerBounds(2, 2, 2))
    yield running
    await running.stop()


@pytest.fixture
async def client(registry: RunningRegistry) -> AsyncIterator[Client]:
    client = Client(registry.address)
    yield client
    await client.transport.close()


@pytest.fixture
async def channel(registry: RunningRegistry) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(registry.address) as channel:
        yield channel


def watch(
    channel: grpc.aio.Channel,
    service: str = "",
    seen: pb.WatchResponse | None = None,
    metadata: tuple[tuple[str, str], ...] = (),
) -> grpc.aio.UnaryStreamCall[Message, pb.WatchResponse]:
    method = channel.unary_stream(
        PREFIX + "Watch",
        request_serializer=pb.WatchRequest.SerializeToString,
        response_deserializer=pb.WatchResponse.FromString,
    )
    request = pb.WatchRequest(service=service)
    if seen is not None:
        request.list_id, request.revision = seen.list_id, seen.revision
    return method(request, metadata=metadata)


async def test_an_instance_is_listed_from_register_to_deregister(client: Client) -> None:
    lease = await client.register()
    assert lease.ttl.ToTimedelta().total_seconds() == pytest.approx(0.6)
    listed = await client.list()
    assert [(i.id, i.service, i.address, i.state) for i in listed.instances] == [
        ("a-1", "a", "127.0.0.1:1", pb.INSTANCE_STATE_SERVING)
    ]
    await client.deregister(lease.lease_id)
    await client.deregister(lease.lease_id)
    after = await client.list()
    assert len(after.instances) == 0
    assert after.revision > listed.revision


async def test_a_heartbeat_can_say_draining_and_later_ones_leave_it_so(client: Client) -> None:
    lease = await client.register()
    await client.heartbeat(lease.lease_id, pb.INSTANCE_STATE_DRAINING)
    await client.heartbeat(lease.lease_id)
    assert (await client.list()).instances[0].state == pb.INSTANCE_STATE_DRAINING


async def test_only_one_service_is_listed_if_asked_for(client: Client) -> None:
    await client.register()
    await client.register(pb.Instance(id="b-1", service="b", address="127.0.0.1:2"))
    assert [i.id for i in (await client.list("b")).instances] == ["b-1"]
    assert [i.id for i in (await client.list()).instances] == ["a-1", "b-1"]


async def test_an_unknown_lease_is_refused_and_the_instance_registers_again(client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        await client.heartbeat("no-such-lease")
    assert caught.value.reason == "LEASE_EXPIRED"


@pytest.mark.parametrize("method", ["Register", "Heartbeat", "Deregister"])
async def test_only_services_write(client: Client, method: str) -> None:
    with pytest.raises(Unauthenticated):
        await client.call(method, b"", bearer="")
    with pytest.raises((Unauthenticated, PermissionDenied)):
        await client.call(method, b"", bearer="not-a-token")


async def test_a_service_lists_its_own_instances_alone(client: Client) -> None:
    foreign = pb.Instance(id="b-1", service="b", address="127.0.0.1:2")
    await client.register(foreign)
    for instance in (foreign, pb.Instance(id="a-2", address="127.0.0.1:2")):
        request = pb.RegisterRequest(instance=instance).SerializeToString()
        with pytest.raises(PermissionDenied) as denied:
            await client.call("Register", request, token("a"))
        assert denied.value.reason == "NOT_YOUR_SERVICE"
    assert [(i.id, i.service) for i in (await client.list()).instances] == [("b-1", "b")]


async def test_a_service_keeps_and_ends_leases_of_its_own_instances_alone(client: Client) -> None:
    lease_id = (await client.register()).lease_id
    heartbeat = pb.HeartbeatRequest(lease_id=lease_id, state=pb.INSTANCE_STATE_DRAINING)
    with pytest.raises(NotFound) as caught:
        await client.call("Heartbeat", heartbeat.SerializeToString(), token("b"))
    assert caught.value.reason == "LEASE_EXPIRED"
    request = pb.DeregisterRequest(lease_id=lease_id).SerializeToString()
    await client.call("Deregister", request, token("b"))
    (listed,) = (await client.list()).instances
    assert listed.state == pb.INSTANCE_STATE_SERVING


@pytest.mark.parametrize("instance_id", ["b-1", "a", "ab-1", ""])
async def test_an_instance_cannot_take_the_place_of_another_services(
    client: Client, instance_id: str
) -> None:
    instance = pb.Instance(id=instance_id, service="a", address="127.0.0.1:2")
    with pytest.raises(InvalidArgument) as caught:
        await client.register(instance)
    assert caught.value.fields[0].field == "instance.id"


async def test_a_state_that_does_not_exist_is_refused(client: Client) -> None:
    lease = await client.register()
    with pytest.raises(InvalidArgument) as caught:
        await client.heartbeat(lease.lease_id, 77)
    assert caught.value.fields[0].field == "state"


@pytest.mark.parametrize("lease_id", ["", "x" * 121])
async def test_a_lease_id_of_no_fit_length_is_refused(client: Client, lease_id: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await client.heartbeat(lease_id)
    assert caught.value.fields[0].field == "lease_id"


async def test_a_watcher_gets_the_list_at_once_and_after_every_change(
    client: Client, channel: grpc.aio.Channel
) -> None:
    lease = await client.register()
    stream = watch(channel)
    assert [i.id for i in (await _next(stream)).instances] == ["a-1"]
    await client.register(pb.Instance(id="b-1", service="b", address="127.0.0.1:2"))
    assert [i.id for i in (await _next(stream)).instances] == ["a-1", "b-1"]
    await client.deregister(lease.lease_id)
    assert [i.id for i in (await _next(stream)).instances] == ["b-1"]
    assert [i.id for i in (await _next(stream)).instances] == []  # b-1 sends no heartbeats


async def test_a_watcher_of_one_service_hears_of_no_other(
    client: Client, channel: grpc.aio.Channel
) -> None:
    stream = watch(channel, "b")
    await _next(stream)
    await client.register()
    await client.register(pb.Instance(id="b-1", service="b", address="127.0.0.1:2"))
    assert [i.id for i in (await _next(stream)).instances] == ["b-1"]


async def test_a_watcher_beyond_the_bound_is_refused_until_another_leaves(
    channel: grpc.aio.Channel,
) -> None:
    first, second = watch(channel), watch(channel)
    await _next(first)
    await _next(second)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _next(watch(channel))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    member = watch(channel, metadata=((AUTHORIZATION, f"Bearer {token()}"),))
    await _next(member)
    member.cancel()
    first.cancel()
    await _until_watched(channel)


async def test_a_leaving_registry_ends_its_watches_and_takes_no_new_ones(
    registry: RunningRegistry, channel: grpc.aio.Channel
) -> None:
    stream = watch(channel)
    await _next(stream)
    registry.store.close()
    assert await asyncio.wait_for(stream.read(), 5.0) is grpc.aio.EOF  # at once: no keep-alive
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _next(watch(channel))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_watcher_that_comes_back_is_not_sent_the_list_that_it_has(
    client: Client, channel: grpc.aio.Channel
) -> None:
    lease = await client.register()
    seen = await _next(watch(channel))
    stream = watch(channel, seen=seen)
    first = await _read(stream)
    assert first.unchanged
    assert not first.instances
    assert (first.list_id, first.revision) == (seen.list_id, seen.revision)
    await client.deregister(lease.lease_id)
    then = await _next(stream)
    assert not then.instances
    assert then.revision > seen.revision


async def test_a_watcher_that_has_missed_a_change_is_sent_the_list_at_once(
    client: Client, channel: grpc.aio.Channel
) -> None:
    seen = await _next(watch(channel))
    await client.register()
    first = await _read(watch(channel, seen=seen))
    assert [i.id for i in first.instances] == ["a-1"]


async def test_a_watcher_of_another_list_is_sent_this_one_for_any_revision(
    channel: grpc.aio.Channel,
) -> None:
    other = pb.WatchResponse(list_id="another registry's", revision=2**62)
    first = await _read(watch(channel, seen=other))
    assert not first.unchanged
    assert first.list_id not in ("", other.list_id)


async def test_a_watcher_hears_from_the_registry_while_nothing_changes(
    channel: grpc.aio.Channel,
) -> None:
    stream = watch(channel)
    first = await _read(stream)
    later = [await _read(stream) for _ in range(2)]
    assert not first.unchanged
    assert all(each.unchanged and each.revision == first.revision for each in later)


async def _next(
    stream: grpc.aio.UnaryStreamCall[Message, pb.WatchResponse],
) -> pb.WatchResponse:
    """The next list; skips keep-alive messages."""
    while (response := await _read(stream)).unchanged:
        pass
    return response


async def _read(
    stream: grpc.aio.UnaryStreamCall[Message, pb.WatchResponse],
) -> pb.WatchResponse:
    response = await asyncio.wait_for(stream.read(), 5.0)
    assert isinstance(response, pb.WatchResponse)
    return response


async def _until_watched(channel: grpc.aio.Channel) -> None:
    """Polls until the registry accepts a watcher again."""
    streams: list[pb.WatchResponse] = []

    async def try_often() -> None:
        while not streams:
            try:
                streams.append(await _next(watch(channel)))
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)

    trying = asyncio.create_task(try_often())
    await until(trying.done)
