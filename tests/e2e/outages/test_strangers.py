"""Streams of callers without a token leave room for those of the mesh."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import grpc
import httpx
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from deploy.local.mesh_client import client_of
from proof.stack import Mesh
from registry.rpc.xds.resources import LISTENER
from registry.rpc.xds.service import STREAM

STRANGERS = 1_100
OPEN_AT_ONCE = 100
PRESS_SECONDS = 0.005
CROWDS = 8
READY_SECONDS = 20.0
WATCH = "/registry.v1.RegistryService/Watch"
HEALTH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
LIST_SERVICES = b"\x3a\x01*"
DISCOVERY = DiscoveryRequest(type_url=LISTENER, resource_names=["gacha"]).SerializeToString()


class Strangers:
    """Streams without a token. `ends` counts those that were refused, by their code."""

    def __init__(self, mesh: Mesh, stack: AsyncExitStack) -> None:
        self._security = client_of(mesh.read()).security
        self._stack = stack
        self.open_calls: list[Any] = []
        self.ends: Counter[grpc.StatusCode] = Counter()

    async def crowd(self, address: str, method: str, request: bytes) -> None:
        """Opens the streams, and waits until each was answered or refused."""
        channel = self._security.channel(address, ())
        self._stack.push_async_callback(channel.close)
        for _ in range(0, STRANGERS, OPEN_AT_ONCE):
            opening = (self._open(channel, method, request) for _ in range(OPEN_AT_ONCE))
            await asyncio.gather(*opening)

    async def press(self, address: str) -> None:
        """Keeps trying to take a slot for Watch, until it is cancelled."""
        channel = self._security.channel(address, ())
        self._stack.push_async_callback(channel.close)
        while True:
            await self._open(channel, WATCH, b"")
            await asyncio.sleep(PRESS_SECONDS)

    async def _open(self, channel: grpc.aio.Channel, method: str, request: bytes) -> None:
        call: Any
        try:
            if method in (WATCH, HEALTH):
                call = channel.unary_stream(method)(request)  # type: ignore[arg-type]
            else:
                call = channel.stream_stream(method)()
                await call.write(request)
            assert await call.read() is not grpc.aio.EOF
            self.open_calls.append(call)
        except grpc.aio.AioRpcError as error:
            self.ends[error.code()] += 1


@pytest.mark.timeout(180)
async def test_a_gateway_that_starts_among_1100_strangers_is_ready_at_once(mesh: Mesh) -> None:
    async with AsyncExitStack() as stack:
        strangers = Strangers(mesh, stack)
        (registry,) = {each["address"] for each in mesh.processes("registry")}
        for method, request in ((WATCH, b""), (HEALTH, b""), (REFLECTION, LIST_SERVICES)):
            await strangers.crowd(registry, method, request)
        await strangers.crowd(registry, STREAM, DISCOVERY)
        for service in ("account_svc", "gacha_svc"):
            for process in mesh.processes(service):
                await strangers.crowd(process["address"], HEALTH, b"")
        # For gRPC's client, a write to a stream that was just refused is an internal error.
        assert strangers.ends[grpc.StatusCode.RESOURCE_EXHAUSTED] > 4 * (STRANGERS - 100)
        assert len(strangers.open_calls) == CROWDS * 100
        assert strangers.ends.total() == CROWDS * (STRANGERS - 100)
        pressing = asyncio.create_task(strangers.press(registry))
        stack.callback(pressing.cancel)
        await asyncio.to_thread(mesh.kill_process, "gateway_http-1")
        async with (
            asyncio.timeout(READY_SECONDS),
            httpx.AsyncClient(base_url=mesh.gateway, verify=mesh.trust or True) as client,
        ):
            while not await is_ready(client):
                await asyncio.sleep(0.05)
            assert (await client.get("/items")).status_code == 200


async def is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
