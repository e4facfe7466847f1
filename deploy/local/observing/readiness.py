"""Checks whether a process is ready; each kind of process has its own check.

Each check has a short deadline, and returns False on any failure.
"""

import asyncio
import http.client

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.mesh_client import PLAIN_CLIENT, MeshClient
from deploy.local.servers import databases, etcd_users
from deploy.local.servers.etcd_users import EtcdPasswords
from deploy.local.servers.postgres import Cluster

TIMEOUT_SECONDS = 2.0
SLOT_COUNT = 16_384


async def is_serving(address: str, client: MeshClient = PLAIN_CLIENT) -> bool:
    """The gRPC health of the whole server (service name "") is SERVING."""
    # A proxy in the environment must not be used between processes of one machine.
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with client.security.channel(address, options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS, wait_for_ready=False
            )
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def is_gateway_ready(address: str, client: MeshClient = PLAIN_CLIENT) -> bool:
    """GET /readyz answers 200."""
    return await asyncio.to_thread(_is_ok, address, "/readyz", client)


async def is_payment_sandbox_ready(address: str) -> bool:
    """GET /healthz answers 200."""
    return await asyncio.to_thread(_is_ok, address, "/healthz", PLAIN_CLIENT)


async def is_etcd_healthy(address: str, client: MeshClient) -> bool:
    """GET /health answers 200: the member knows a leader, and a quorum took its read."""
    return await asyncio.to_thread(_is_ok, address, "/health", client)


async def is_etcd_ready(address: str, passwords: EtcdPasswords, client: MeshClient) -> bool:
    """The member is healthy, and its cluster lets in its users alone; makes them if it has none."""
    return await is_etcd_healthy(address, client) and await asyncio.to_thread(
        etcd_users.are_required, address, passwords, client
    )


def _is_ok(address: str, path: str, client: MeshClient) -> bool:
    try:
        status, _ = client.get(address, path, TIMEOUT_SECONDS)
    except (OSError, http.client.HTTPException):
        return False
    return status == http.client.OK


async def is_postgres_ready(cluster: Cluster) -> bool:
    return await asyncio.to_thread(databases.is_accepting, cluster)


async def is_cache_ready(port: int) -> bool:
    """Assigns all hash slots to a new node. Returns True when its cluster is complete."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            cluster = await _ask_cache(port, "CLUSTER INFO")
            if "cluster_slots_assigned:0" in cluster:
                await _ask_cache(port, f"CLUSTER ADDSLOTSRANGE 0 {SLOT_COUNT - 1}")
                return False
    except (OSError, EOFError, ValueError):
        return False
    return "cluster_state:ok" in cluster


async def _ask_cache(port: int, command: str) -> list[str]:
    """The lines of the answer to an inline command. redis-py would be 8 MB of the runner's memory,
    for two commands. Raises OSError, EOFError, and ValueError for an answer that is an error."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{command}\r\n".encode())
        kind, length = (await reader.readline()).decode().partition("$")[1:]
        # A text is announced as $ and its length in bytes; any other answer is one line.
        return (await reader.readexactly(int(length))).decode().split() if kind else []
    finally:
        writer.close()
