"""The payment sandbox while its book cannot be written.

RLIMIT_FSIZE 0 makes each write to a file fail in a running process, as a full disk does.
"""

import asyncio
import resource
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.process.payments.sandbox_process import address_of, process_settings, start_process
from tests.unit.payments.running import PATIENCE_SECONDS, SECRET_KEY, Receiver, receiver, until

ORDER = {
    "amount_minor": 499,
    "currency": "USD",
    "payment_method": "credit_card",
    "customer": "mira",
}


def limit_files(process: Process, max_bytes: int) -> None:
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (max_bytes, hard))


@pytest.fixture
async def webhooks() -> AsyncIterator[Receiver]:
    async with receiver() as taker:
        yield taker


@pytest.fixture
async def sandbox(tmp_path: Path, webhooks: Receiver) -> AsyncIterator[tuple[Process, str]]:
    """The process and its URL; its output is read on, so that it never waits for a reader."""
    process = await start_process(process_settings(tmp_path / "book", "127.0.0.1:0", webhooks.url))
    address = await address_of(process)
    assert process.stdout is not None
    reading = asyncio.create_task(process.stdout.read())
    yield process, f"http://{address}"
    if process.returncode is None:
        process.kill()
    await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
    await reading


async def charge(session: aiohttp.ClientSession, url: str, key: str) -> tuple[int, dict[str, str]]:
    headers = {"Authorization": f"Bearer {SECRET_KEY}", "Idempotency-Key": key}
    async with session.post(f"{url}/v1/charges", json=ORDER, headers=headers) as answer:
        body = await answer.json()
        return answer.status, body.get("error", {})


async def health(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/healthz") as answer:
        return answer.status


async def test_a_full_disk_is_answered_and_the_sandbox_goes_on_afterwards(
    sandbox: tuple[Process, str], webhooks: Receiver
) -> None:
    process, url = sandbox
    webhooks.refusals = 1
    async with aiohttp.ClientSession() as session:
        assert (await charge(session, url, "before"))[0] == 201
        await until(lambda: webhooks.refusals == 0)
        limit_files(process, 0)
        for _ in range(3):
            status, error = await charge(session, url, "during")
            assert (status, error["code"]) == (503, "book_unavailable")
            assert "make room on its disk" in error["message"]
            assert await health(session, url) == 503
        # The webhook of the first charge is due again; that it was sent cannot be stored.
        await until(lambda: len(webhooks.taken) >= 2)
        assert process.returncode is None

        limit_files(process, resource.RLIM_INFINITY)
        assert (await charge(session, url, "during"))[0] == 201
        assert await health(session, url) == 200
        assert (await charge(session, url, "before"))[0] == 200
        await until(lambda: any(b'"during"' in body for body, _ in webhooks.taken))
    assert process.returncode is None
