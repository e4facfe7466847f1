"""The payment sandbox as a process."""

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.unit.payments.running import PATIENCE_SECONDS, SECRET_KEY, WEBHOOK_SECRET


def process_settings(book_file: Path, listen: str, webhook_url: str) -> dict[str, str]:
    """The environment of a sandbox process."""
    kept = {name: value for name, value in os.environ.items() if "SANDBOX" not in name}
    return {
        **kept,
        "SANDBOX_LISTEN": listen,
        "SANDBOX_BOOK_FILE": str(book_file),
        "SANDBOX_WEBHOOK_URL": webhook_url,
        "SANDBOX_SECRET_KEY": SECRET_KEY,
        "SANDBOX_WEBHOOK_SECRET": WEBHOOK_SECRET,
    }


async def start_process(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "payment_sandbox"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def address_of(process: asyncio.subprocess.Process) -> str:
    """Waits until it listens; returns its address."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "serve":
                return str(event["address"])
    raise AssertionError("the sandbox ended before it served")
