"""A gRPC client process finds instances by xDS and spreads its calls."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest

from deploy.local import xds_file
from mesh.contract.instances import Instance, InstanceState
from tests.process.registry import xds_client
from tests.unit.registry.running import RunningRegistry

REPEATED = "/gacha.v1.CatalogService/ListItems"
SENT_ONCE = "/gacha.v1.GachaService/Pull"


@dataclass
class Backend:
    """A server that answers every call with its name, or fails them while `is_failing`."""

    name: str
    server: grpc.aio.Server
    address: str
    is_failing: bool = False
    heard: list[str] = field(default_factory=list)

    @classmethod
    async def start(cls, name: str) -> "Backend":
        server = grpc.aio.server()
        instance = cls(name, server, f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        server.add_generic_rpc_handlers((_Everything(instance),))
        await server.start()
        return instance

    async def answer(self, _request: bytes, context: Any) -> bytes:
        if self.is_failing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "out")
        return self.name.encode()


class _Everything(grpc.GenericRpcHandler):
    def __init__(self, instance: Backend) -> None:
        self._instance = instance

    def service(self, details: Any) -> Any:
        self._instance.heard.append(details.method)
        return grpc.unary_unary_rpc_method_handler(self._instance.answer)


@dataclass
class Mesh:
    """A registry with two instances, and the bootstrap file of a client."""

    registry: RunningRegistry
    bootstrap: Path
    instances: list[Backend]
    leases: dict[str, str]

    async def add(self, name: str) -> Backend:
        instance = await Backend.start(name)
        self.instances.append(instance)
        self.leases[name] = await self.registry.store.register(
            Instance(name, "gacha_svc", instance.address)
        )
        return instance


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    registry = await RunningRegistry.start(lease_seconds=120.0)
    bootstrap = tmp_path / "xds.json"
    xds_file.write(bootstrap, [registry.address])
    mesh = Mesh(registry, bootstrap, [], {})
    for name in ("a", "b"):
        await mesh.add(name)
    yield mesh
    for instance in mesh.instances:
        await instance.server.stop(0)
    await registry.stop()


@dataclass
class Client:
    process: asyncio.subprocess.Process

    async def call(self, count: int) -> dict[str, int]:
        """Makes that many calls; returns the counts by instance name or status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count}\n".encode())
        outcomes: dict[str, int] = json.loads(
            await asyncio.wait_for(self.process.stdout.readline(), 60.0)
        )
        return outcomes

    async def until(self, holds: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        """Repeats twenty calls until their outcomes are as expected; returns them."""
        give_up_at = monotonic() + 30.0
        while not holds(outcomes := await self.call(20)):
            assert monotonic() < give_up_at, outcomes
        return outcomes


@pytest.fixture
async def clients(mesh: Mesh) -> AsyncIterator[Callable[..., Any]]:
    started: list[asyncio.subprocess.Process] = []

    async def start(method: str, target: str = "xds:///gacha") -> Client:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(xds_client.__file__), target, method),
            env=os.environ | {"GRPC_XDS_BOOTSTRAP": str(mesh.bootstrap)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return Client(process)

    yield start
    for process in started:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("target", ["xds:///gacha", "xds:///gacha_svc"])
async def test_calls_are_spread_evenly(clients: Callable[..., Any], target: str) -> None:
    client = await clients(REPEATED, target)
    await client.until(lambda outcomes: set(outcomes) == {"a", "b"})
    assert await client.call(40) == {"a": 20, "b": 20}


async def test_a_dead_one_is_left_out_a_new_one_taken_in_and_a_draining_one_spared(
    mesh: Mesh, clients: Callable[..., Any]
) -> None:
    client = await clients(REPEATED)
    await client.until(lambda outcomes: set(outcomes) == {"a", "b"})
    await mesh.instances[0].server.stop(0)
    assert await client.call(20) == {"b": 20}
    await mesh.registry.store.remove(mesh.leases["a"])
    await mesh.add("c")
    assert await client.until(lambda outcomes: "c" in outcomes and "a" not in outcomes)
    assert await client.call(40) == {"b": 20, "c": 20}
    await mesh.registry.store.renew(mesh.leases["b"], InstanceState.DRAINING)
    assert await client.until(lambda outcomes: outcomes == {"c": 20})


async def test_a_repeatable_call_goes_to_the_next_instance_and_a_pull_does_not(
    mesh: Mesh, clients: Callable[..., Any]
) -> None:
    for method, outcomes in ((REPEATED, {"b"}), (SENT_ONCE, {"b", "UNAVAILABLE"})):
        mesh.instances[0].is_failing = False
        client = await clients(method)
        await client.until(lambda outcomes: set(outcomes) == {"a", "b"})
        mesh.instances[0].is_failing = True
        for instance in mesh.instances:
            instance.heard.clear()
        assert set(await client.call(10)) == outcomes
        sent = sum(instance.heard.count(method) for instance in mesh.instances)
        assert (sent == 10) == (method == SENT_ONCE)


async def test_an_instance_that_fails_everything_is_left_out_for_a_while(
    mesh: Mesh, clients: Callable[..., Any]
) -> None:
    client = await clients(SENT_ONCE)
    await client.until(lambda outcomes: set(outcomes) == {"a", "b"})
    mesh.instances[0].is_failing = True
    assert await client.until(lambda outcomes: outcomes == {"b": 20})


async def test_the_mesh_goes_on_without_its_registry(
    mesh: Mesh, clients: Callable[..., Any]
) -> None:
    client = await clients(REPEATED)
    await client.until(lambda outcomes: set(outcomes) == {"a", "b"})
    await mesh.registry.kill()
    assert await client.call(40) == {"a": 20, "b": 20}
