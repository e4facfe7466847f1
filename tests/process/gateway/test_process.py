"""The gateway as a process, from start to stop."""

import asyncio
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import httpx
import orjson

from tests.process.gateway.gateway_process import address_of, environment

__all__ = ["environment"]


async def start(environment: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway_http"), env=environment, stdout=PIPE, stderr=PIPE
    )


async def test_a_gateway_without_a_registry_serves_and_leaves_in_order(
    environment: dict[str, str],
) -> None:
    process = await start(environment)
    try:
        async with asyncio.timeout(30):
            address = await address_of(process)
            async with httpx.AsyncClient(base_url=f"http://{address}") as client:
                assert (await client.get("/healthz")).status_code == 200
                assert (await client.get("/readyz")).status_code == 503
                assert (await client.get("/status")).json()["registry"]["viewAgeSeconds"] is None
                items = await client.get("/items", headers={"x-request-id": "r-1"})
                assert items.status_code == 503
                assert items.json()["reason"] == "ALL_INSTANCES_UNAVAILABLE"
                assert items.json()["requestId"] == "r-1"
            process.send_signal(signal.SIGTERM)
            output, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
        assert orjson.loads(output.splitlines()[-1])["event"] == "leave"
    finally:
        if process.returncode is None:
            process.kill()


async def test_a_taken_port_ends_the_process_with_a_clear_sentence(
    environment: dict[str, str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await start({**environment, "MESH_LISTEN": address})
        _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert errors.decode().splitlines() == [
        f"{address} is taken by another process; set MESH_LISTEN to a free host:port."
    ]


async def test_wrong_settings_are_all_named_at_once(environment: dict[str, str]) -> None:
    wrong = {"MESH_LISTEN": "nowhere", "GATEWAY_MAX_BODY_BYTES": "1"}
    process = await start({**environment, **wrong, "GATEWAY_DEADLINE_SECONDS": "soon"})
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == os.EX_CONFIG
    for name in (*wrong, "GATEWAY_DEADLINE_SECONDS"):
        assert name in errors.decode()


async def test_a_certificate_needs_its_key_and_the_mesh_all_three(
    environment: dict[str, str], tmp_path: Path
) -> None:
    wrong = {"GATEWAY_TLS_CERT_FILE": str(tmp_path), "MESH_TLS_KEY_FILE": str(tmp_path)}
    process = await start({**environment, **wrong})
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == os.EX_CONFIG
    told = errors.decode()
    assert "GATEWAY_TLS_KEY_FILE must be set beside GATEWAY_TLS_CERT_FILE" in told
    assert "MESH_TLS_CERT_FILE and MESH_TLS_CA_FILE must be set beside MESH_TLS_KEY_FILE" in told


async def test_a_gateway_that_leaves_loses_no_request_of_kept_alive_connections(
    environment: dict[str, str],
) -> None:
    process = await start(environment)
    try:
        async with asyncio.timeout(30):
            host, _, port = (await address_of(process)).rpartition(":")
            clients = [asyncio.create_task(ask_until_sent_away(host, int(port))) for _ in range(16)]
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
                await client.get("/healthz")
                process.send_signal(signal.SIGTERM)
                ends = await asyncio.gather(*clients)
                # A client that connects during the stop is served; then its connection is closed.
                ready = await client.get("/readyz")
                assert (ready.status_code, ready.headers["connection"]) == (503, "close")
            await process.communicate()
        assert set(ends) == {"sent away"}
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()


async def ask_until_sent_away(host: str, port: int) -> str:
    """Sends requests on one connection until it is closed; returns how it ended."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while True:
            writer.write(b"GET /status HTTP/1.1\r\nhost: gateway\r\n\r\n")
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                (length,) = re.findall(r"content-length: (\d+)", head)
                await reader.readexactly(int(length))
            except (asyncio.IncompleteReadError, ConnectionError):
                return "no answer"
            if "connection: close" in head:
                return "sent away" if await reader.read() == b"" else "kept open"
            await asyncio.sleep(0.005)
    finally:
        writer.close()
