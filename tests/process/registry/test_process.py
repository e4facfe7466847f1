"""`python -m registry` as a process."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mesh.contract.instances import Instance
from mesh.membership.discovery import Directory
from mesh.membership.registration import Registration
from tests.unit.registry.running import KEYS, token, until

A = Instance("a-1", "a", "127.0.0.1:1")
Spawn = Callable[[str], Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def spawn(tmp_path: Path, repository: Path) -> AsyncIterator[Spawn]:
    """Starts a registry on host:port."""
    public = KEYS["a"].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "a.pem").write_bytes(pem)
    spawned: list[asyncio.subprocess.Process] = []

    async def spawn(listen: str) -> asyncio.subprocess.Process:
        settings = {
            "MESH_INSTANCE_ID": "registry-1",
            "MESH_LISTEN": listen,
            "MESH_SERVICE_KEYS_DIR": str(tmp_path),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "registry"),
            cwd=repository,
            env=os.environ | settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        spawned.append(process)
        return process

    yield spawn
    for process in spawned:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def address_of(process: asyncio.subprocess.Process) -> str:
    """Waits until a registry listens; returns its address."""
    assert process.stdout is not None
    line = json.loads(await asyncio.wait_for(process.stdout.readline(), 20.0))
    assert line["event"] == "serve"
    return str(line["address"])


async def test_a_killed_registry_is_found_again_and_no_instance_is_missed(spawn: Spawn) -> None:
    first = await spawn("127.0.0.1:0")
    address = await address_of(first)
    directory = Directory([address], token)
    directory.start()
    registration = Registration(A, [address], token)
    registration.start()
    await until(lambda: directory.instances("a") == (A,))
    changes: list[tuple[Instance, ...]] = []
    directory.subscribe(lambda: changes.append(directory.instances("a")))

    first.send_signal(signal.SIGKILL)
    await first.wait()
    await until(lambda: directory.age_seconds() > 0)
    second = await spawn(address)
    await until(lambda: directory.age_seconds() == 0)
    assert await registration.registered(5.0)
    assert changes == []

    second.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(second.wait(), 5.0) == 0
    await directory.close()
    await registration.deregister()
    assert directory.instances("a") == (A,)


async def test_an_address_that_is_taken_ends_the_process_and_says_so(spawn: Spawn) -> None:
    address = await address_of(await spawn("127.0.0.1:0"))
    second = await spawn(address)
    _, errors = await asyncio.wait_for(second.communicate(), 20.0)
    assert second.returncode == 1
    assert "MESH_LISTEN" in errors.decode()
