"""Checks the health of each process of a running mesh."""

import asyncio
import os

import psycopg2

from deploy.local.mesh_client import MeshClient, client_of
from deploy.local.mesh_file import Mesh, Process
from deploy.local.observing import readiness

HEALTHY = "healthy"
UNHEALTHY = "not healthy"
NOT_RUNNING = "not running"


async def health_of(mesh: Mesh) -> dict[str, str]:
    """Maps the name of each process to one of the words above."""
    client = client_of(mesh)
    answers = await asyncio.gather(*(_ask(mesh, process, client) for process in mesh["processes"]))
    return {
        process["name"]: answer for process, answer in zip(mesh["processes"], answers, strict=True)
    }


async def _ask(mesh: Mesh, process: Process, client: MeshClient) -> str:
    pid = process["pid"]
    # While mesh.json cannot be written, it may name a process that has died.
    if pid is None or not _is_alive(pid):
        return NOT_RUNNING
    return HEALTHY if await _is_healthy(mesh, process, client) else UNHEALTHY


async def _is_healthy(mesh: Mesh, process: Process, client: MeshClient) -> bool:
    address = process["address"]
    match process["role"]:
        case "postgres":
            url = next(url for url in mesh["databases"].values() if f"@{address}/" in url)
            return await asyncio.to_thread(_answers, url)
        case "cache":
            return await readiness.is_cache_ready(int(address.rpartition(":")[2]))
        case "etcd":
            return await readiness.is_etcd_healthy(address, client)
        case "gateway_http":
            return await readiness.is_gateway_ready(address, client)
        case "payment_sandbox":
            return await readiness.is_payment_sandbox_ready(address)
        case _:
            return await readiness.is_serving(address, client)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # of another user, as PostgreSQL's
    return True


def _answers(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
