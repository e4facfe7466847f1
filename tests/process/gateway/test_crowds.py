"""A gateway that holds as many connections as its limit of open files allows stays of use."""

import asyncio
import resource
import sys
from asyncio.subprocess import PIPE, Process
from functools import partial

import httpx
import orjson
import pytest

from tests.process.gateway.gateway_process import address_of, environment

__all__ = ["environment"]
OPEN_FILES = 400
CROWD = 900
ANSWER_SECONDS = 2.0
SENT = {
    "nothing": b"",
    "half a head": b"GET /healthz HTTP/1.1\r\n",
    "half a body": b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    "half a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM",
    "a whole request": b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
}


async def start(settings: dict[str, str], open_files: int) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway_http"),
        env=settings,
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=partial(
            resource.setrlimit, resource.RLIMIT_NOFILE, (open_files // 2, open_files)
        ),
    )


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
async def test_a_probe_is_answered_whatever_other_connections_do(
    environment: dict[str, str], sent: bytes
) -> None:
    # All clients here have one address, so only the bound on all connections holds.
    process = await start(environment | {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1"}, OPEN_FILES)
    crowd: list[asyncio.StreamWriter] = []
    try:
        async with asyncio.timeout(60):
            host, _, port = (await address_of(process)).rpartition(":")
            for _ in range(CROWD):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(sent)
                crowd.append(writer)
            for path, status in (("/healthz", 200), ("/readyz", 503)) * 3:
                async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
                    answer = await client.get(path, timeout=ANSWER_SECONDS)
                    assert answer.status_code == status
            assert process.returncode is None
    finally:
        for writer in crowd:
            writer.transport.abort()
        process.kill()
        output, errors = await process.communicate()
    events = [orjson.loads(line) for line in output.splitlines()]
    assert not [event for event in events if event["level"] == "error"], events
    assert errors == b""


async def test_a_limit_of_open_files_bounds_connections_and_is_logged(
    environment: dict[str, str],
) -> None:
    process = await start(environment, OPEN_FILES)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            event = orjson.loads(await process.stdout.readline())
        assert (event["event"], event["level"]) == ("limit_connections", "warning")
        assert (event["open_files"], event["connections"]) == (OPEN_FILES, OPEN_FILES - 256)
        assert event["needed"] == 8192 + 256
        # The soft limit was raised to the hard one.
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (OPEN_FILES, OPEN_FILES)
    finally:
        process.kill()
        await process.communicate()
