"""A real gateway process with real clients."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway_http.listening.sockets import listening_socket
from mesh.process.listening import ListenFailed
from tests.process.gateway.serving import end, serving

TOKEN = {"authorization": "Bearer t"}


async def test_requests_are_answered_over_real_http() -> None:
    async with serving() as (process, client):
        currency = await client.get("/currency", headers=TOKEN)
        assert currency.json() == {
            "userId": "u",
            "currencyBalance": 2**53 - 1,
            "debtGems": 0,
        }
        assert currency.headers["content-type"] == "application/json"
        assert len(currency.headers["x-request-id"]) == 32
        bought = await client.post("/buy-currency", json={"amount": "5"}, headers=TOKEN)
        assert bought.json()["newBalance"] == 7
        pulled = await client.get("/gacha/pull/a%20b", headers=TOKEN)
        assert len(pulled.json()["pulled_items"]) == 10
        items = await client.get("/items")
        assert (items.status_code, items.json()["reason"]) == (400, "CATALOG_EMPTY")
        head = await client.head("/docs/swagger-ui-bundle.js")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 100_000
        bundle = await client.get("/docs/swagger-ui-bundle.js")
        assert len(bundle.content) > 1_000_000
        lost = await client.get("/nope?x=%ff")
        assert (lost.status_code, lost.json()["reason"]) == (404, "ROUTE_NOT_FOUND")
        wrong = await client.put("/items")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        assert await end(process) == "calls=4 cancelled=0"


async def test_a_connection_continues_after_requests_with_unused_bodies() -> None:
    async with serving() as (process, client):
        for size_bytes in (1, 5_000, 70_000, 300_000) * 10:
            lost = await client.post("/nope", content=b" " * size_bytes)
            assert (lost.status_code, lost.json()["reason"]) == (404, "ROUTE_NOT_FOUND")
            assert "connection" not in lost.headers
        assert await end(process) == "calls=0 cancelled=0"


async def test_too_large_bodies_are_refused_and_the_server_goes_on() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b" " * 1024

    async with serving() as (process, client):
        for content in (b" " * 200_000, endless()):
            refused = await client.post("/buy-currency", content=content, headers=TOKEN)
            assert (refused.status_code, refused.json()["reason"]) == (413, "REQUEST_TOO_LARGE")
        assert (await client.get("/healthz")).status_code == 200
        assert await end(process) == "calls=0 cancelled=0"


async def test_a_client_that_leaves_cancels_its_call() -> None:
    async with serving(wait_seconds=30) as (process, client):
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/currency", headers=TOKEN, timeout=0.3)
        assert await end(process) == "calls=1 cancelled=1"


async def test_requests_under_way_end_before_the_process_does() -> None:
    async with serving(wait_seconds=1.0) as (process, client):
        # An idle kept-alive connection must not delay the stop.
        await client.get("/healthz")
        answer = asyncio.create_task(client.get("/currency", headers=TOKEN))
        await asyncio.sleep(0.3)
        ending = asyncio.create_task(end(process))
        assert (await answer).json()["currencyBalance"] == 2**53 - 1
        assert await ending == "calls=1 cancelled=0"
        with pytest.raises(httpx.ConnectError):
            await client.get("/healthz")


async def test_a_port_is_never_shared() -> None:
    async with serving() as (process, client):
        port = client.base_url.port
        with pytest.raises(ListenFailed, match=f"127.0.0.1:{port} is taken .* MESH_LISTEN"):
            listening_socket(f"127.0.0.1:{port}")
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
        await end(process)


@pytest.mark.parametrize("address", ["203.0.113.1:0", "no-such-host.invalid:80"])
def test_an_address_of_another_machine_is_refused_with_the_remedy(address: str) -> None:
    with pytest.raises(ListenFailed, match="set MESH_LISTEN"):
        listening_socket(address)
