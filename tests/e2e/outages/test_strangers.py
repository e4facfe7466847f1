"""Streams and unfinished calls of callers without a token leave room for those of the mesh."""

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from deploy.local.mesh_client import client_of
from proof.stack import Mesh
from proof.tokens import token_of
from protos.registry.v1.registry_pb2 import ListRequest, ListResponse
from registry.rpc.xds.resources import LISTENER
from registry.rpc.xds.service import STREAM

ITS_OWN = (("grpc.use_local_subchannel_pool", 1),)
"""Makes a connection for each channel; otherwise channels to one address share one."""
STRANGERS = 1_100
OPEN_AT_ONCE = 100
PRESS_SECONDS = 0.005
CROWDS = 8
READY_SECONDS = 20.0
WATCH = "/registry.v1.RegistryService/Watch"
HEALTH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
LIST = "/registry.v1.RegistryService/List"
UNFINISHED_CONNECTIONS = 85
UNFINISHED_OF_A_CONNECTION = 200
LEASES = 2
LEASE_SECONDS = 3.0
MAX_GROWTH_BYTES = 100_000_000
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
        channel = self._security.channel(address, ITS_OWN)
        self._stack.push_async_callback(channel.close)
        for _ in range(0, STRANGERS, OPEN_AT_ONCE):
            opening = (self._open(channel, method, request) for _ in range(OPEN_AT_ONCE))
            await asyncio.gather(*opening)

    async def press(self, address: str) -> None:
        """Keeps trying to take a slot for Watch, until it is cancelled."""
        channel = self._security.channel(address, ITS_OWN)
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


@pytest.mark.timeout(180)
async def test_17000_unfinished_calls_cost_a_registry_neither_memory_nor_leases(
    mesh: Mesh,
) -> None:
    client = client_of(mesh.read())
    (registry,) = mesh.processes("registry")
    address, before_bytes = registry["address"], resident_bytes(registry["pid"])
    token = token_of(mesh, "admin", "registry")

    async def revision() -> int:
        answer = await client.call(address, LIST, ListRequest(), token, READY_SECONDS)
        return ListResponse.FromString(answer).revision

    async def has_settled() -> bool:
        seen = await revision()
        await asyncio.sleep(LEASE_SECONDS)
        return await revision() == seen

    while not await has_settled():  # a process that was restarted before is listed anew
        pass
    before = await revision()
    async with AsyncExitStack() as stack:
        for _ in range(UNFINISHED_CONNECTIONS):
            channel = client.security.channel(address, ITS_OWN)
            await stack.enter_async_context(channel)
            method: Any = channel.stream_unary(LIST)
            calls = [method() for _ in range(UNFINISHED_OF_A_CONNECTION)]
            stack.callback(calls.clear)
            assert await revision() == before  # it has taken the calls that came before
        for _ in range(LEASES):
            await asyncio.sleep(LEASE_SECONDS)
            assert await revision() == before
        assert resident_bytes(registry["pid"]) - before_bytes < MAX_GROWTH_BYTES


def resident_bytes(pid: int | None) -> int:
    """The memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False
