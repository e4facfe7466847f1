"""A real headless browser."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from subprocess import DEVNULL
from typing import Any, NamedTuple

import aiohttp
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT_SECONDS = 60
PAGE_MS = 20_000
"""Of the page's own time, which passes at once while it waits for nothing."""


class Shown(NamedTuple):
    """The document at the end, and the browser's messages."""

    document: str
    console: str


def show(url: str, profile: Path) -> Shown:
    """Loads a page and runs its scripts; skips the test if no browser is installed."""
    command = [*_command(profile), f"--virtual-time-budget={PAGE_MS}"]
    command += ["--enable-logging=stderr", "--v=0", "--dump-dom", url]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return Shown(done.stdout, console)


class Tab:
    """A page that a test acts on, over the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = count(1)

    async def evaluate(self, script: str) -> Any:
        """The JSON value of a JavaScript expression; fails the test if it throws."""
        done = await self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    async def until(self, script: str) -> Any:
        """The first value of the expression that is true in JavaScript's sense."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (value := await self.evaluate(script)):
            assert time.monotonic() < deadline, f"it did not become true: {script}"
            await asyncio.sleep(0.05)
        return value

    async def write(self, text: str) -> None:
        """Types into the element that has the focus."""
        await self._send("Input.insertText", text=text)

    async def _send(self, method: str, **parameters: object) -> Any:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=TIMEOUT_SECONDS)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]


@asynccontextmanager
async def opened(url: str, profile: Path) -> AsyncIterator[Tab]:
    """A browser that shows the page; skips the test if none is installed."""
    command = [*_command(profile), "--remote-debugging-port=0", url]
    browser = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    try:
        port = await asyncio.to_thread(_debugging_port, profile)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as listed:
                pages = [each for each in await listed.json() if each["type"] == "page"]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"]) as socket:
                yield Tab(socket)
    finally:
        browser.terminate()
        await browser.wait()


def _debugging_port(profile: Path) -> str:
    """Waits for the file that the browser writes when it has started."""
    file = profile / "DevToolsActivePort"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (file.exists() and "\n" in file.read_text()):
        assert time.monotonic() < deadline, "the browser did not start"
        time.sleep(0.05)
    return file.read_text().split("\n", 1)[0]


def _command(profile: Path) -> list[str]:
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(
            "left out: pages in a real browser, for none is installed. To have it: "
            "apt-get install chromium"
        )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    return [browser, *options, f"--user-data-dir={profile}"]
