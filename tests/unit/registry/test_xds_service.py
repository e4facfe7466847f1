"""Aggregated discovery as a dialogue over a real gRPC server."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from mesh.contract.instances import Instance, InstanceState
from mesh.serving.callers import CallerBounds
from registry.rpc.xds.resources import CLUSTER, ENDPOINTS, LISTENER
from registry.rpc.xds.service import STREAM
from tests.unit.registry.running import RunningRegistry, until

A = Instance("gacha_svc-1", "gacha_svc", "127.0.0.1:7001")
B = Instance("gacha_svc-2", "gacha_svc", "127.0.0.1:7002")


@dataclass
class Client:
    """One stream of a gRPC client."""

    call: Any

    async def ask(
        self, type_url: str, *names: str, answers: DiscoveryResponse | None = None, error: str = ""
    ) -> None:
        request = DiscoveryRequest(type_url=type_url, resource_names=names)
        if answers is not None:
            request.response_nonce = answers.nonce
        if error:
            request.error_detail.message = error
        await self.call.write(request)

    async def hear(self) -> Any:
        return await self.call.read()


def ports(response: DiscoveryResponse) -> list[int]:
    """The ports of the endpoints that accept calls."""
    assignment = ClusterLoadAssignment()
    assert response.resources[0].Unpack(assignment)
    return [
        each.endpoint.address.socket_address.port_value
        for locality in assignment.endpoints
        for each in locality.lb_endpoints
        if each.health_status == 1
    ]


@pytest.fixture
async def registry() -> AsyncIterator[RunningRegistry]:
    running = await RunningRegistry.start(lease_seconds=60.0, stream_bounds=CallerBounds(1, 1, 1))
    yield running
    await running.stop()


@pytest.fixture
async def channel(registry: RunningRegistry) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(registry.address) as channel:
        yield channel


def open_stream(channel: grpc.aio.Channel) -> Client:
    return Client(
        channel.stream_stream(
            STREAM,
            request_serializer=DiscoveryRequest.SerializeToString,
            response_deserializer=DiscoveryResponse.FromString,
        )()
    )


async def test_a_client_finds_a_service_and_hears_of_every_change(
    registry: RunningRegistry, channel: grpc.aio.Channel
) -> None:
    lease = await registry.store.register(A)
    client = open_stream(channel)
    for type_url, name in ((LISTENER, "gacha"), (CLUSTER, "gacha_svc")):
        await client.ask(type_url, name)
        heard = await client.hear()
        assert (heard.type_url, len(heard.resources)) == (type_url, 1)
        await client.ask(type_url, name, answers=heard)
    await client.ask(ENDPOINTS, "gacha_svc")
    heard = await client.hear()
    assert ports(heard) == [7001]

    await client.ask(ENDPOINTS, "gacha_svc", answers=heard)
    await registry.store.register(B)
    heard = await client.hear()
    assert ports(heard) == [7001, 7002]

    await client.ask(ENDPOINTS, "gacha_svc", answers=heard)
    await registry.store.renew(lease, InstanceState.DRAINING)
    heard = await client.hear()
    assert ports(heard) == [7002]


async def test_a_refused_response_is_not_repeated_and_the_next_change_is_sent(
    registry: RunningRegistry, channel: grpc.aio.Channel
) -> None:
    await registry.store.register(A)
    client = open_stream(channel)
    await client.ask(ENDPOINTS, "gacha_svc")
    refused = await client.hear()
    await client.ask(ENDPOINTS, "gacha_svc", answers=refused, error="no")
    await registry.store.register(B)
    heard = await client.hear()
    assert int(heard.nonce) == int(refused.nonce) + 1
    assert ports(heard) == [7001, 7002]


async def test_there_are_no_more_streams_than_the_bound(
    registry: RunningRegistry, channel: grpc.aio.Channel
) -> None:
    first = open_stream(channel)
    await first.ask(LISTENER, "gacha")
    await first.hear()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await open_stream(channel).hear()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    first.call.cancel()
    third = open_stream(channel)
    for _ in range(100):
        try:
            await third.ask(LISTENER, "gacha")
            await third.hear()
            return
        except (grpc.aio.AioRpcError, grpc.aio.UsageError):
            third = open_stream(channel)
    raise AssertionError("the place of a stream that went was not given to another")


async def test_nonsense_ends_the_stream(channel: grpc.aio.Channel) -> None:
    stream: Any = channel.stream_stream(STREAM)()
    await stream.write(b"\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream.read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_registry_that_leaves_ends_its_streams_and_takes_no_new_ones(
    registry: RunningRegistry, channel: grpc.aio.Channel
) -> None:
    client = open_stream(channel)
    await client.ask(LISTENER, "gacha")
    await client.hear()
    registry.store.close()
    assert await client.hear() is grpc.aio.EOF
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await open_stream(channel).hear()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_before_it_has_a_list_a_registry_tells_no_empty_one() -> None:
    registry = await RunningRegistry.start(lease_seconds=60.0, first_list_seconds=0.5)
    async with grpc.aio.insecure_channel(registry.address) as channel:
        client = open_stream(channel)
        await client.ask(ENDPOINTS, "gacha_svc")
        await client.ask(LISTENER, "gacha")
        assert (await client.hear()).type_url == LISTENER
        await registry.store.register(A)
        assert registry.cache.instances is None
        assert ports(await client.hear()) == [7001]
        await until(lambda: registry.cache.instances is not None)
    await registry.stop()
