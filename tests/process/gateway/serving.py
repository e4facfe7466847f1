"""Starts and ends the process of `server` for tests."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx


@asynccontextmanager
async def serving(
    wait_seconds: float = 0.0, *origins: str
) -> AsyncIterator[tuple[Process, httpx.AsyncClient]]:
    """The server and a client of it; kills the server if the test has not ended it."""
    arguments = (
        "-m",
        "tests.process.gateway.server",
        "127.0.0.1:0",
        str(wait_seconds),
        *origins,
    )
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE)
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 20))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield process, client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def end(process: Process) -> str:
    """Stops the server; returns the outcomes of its calls."""
    process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0
    return output.decode().strip()
