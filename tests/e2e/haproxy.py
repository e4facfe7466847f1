"""A real HAProxy with the configuration of deploy/haproxy, and load through it."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import httpx
import pytest

from deploy.local.layout import REPOSITORY
from proof.load.pull_load import PullingPlayer

CONFIGURATION = REPOSITORY / "deploy" / "haproxy" / "haproxy.cfg"
PROGRAMS = ("haproxy", "/usr/sbin/haproxy")
PATIENCE_SECONDS = 20.0
PAUSE_SECONDS = 0.01
CLOSED = {"RemoteProtocolError", "ReadError", "WriteError"}


def program() -> str:
    """The path of haproxy; skips the test if it is not installed."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("left out: HAProxy before the gateways. To have it: apt-get install haproxy")
    return found


@contextmanager
def running(
    gateways: Sequence[str],
    log: Path,
    *,
    is_ready: bool = True,
    ca_file: str | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[str]:
    """Yields its base URL; it ends with the context. `gateways` are host:port; without `is_ready`
    none of them runs. With a `ca_file` they serve HTTPS. `settings` are further variables."""
    port = free_port()
    environment = dict(settings)
    environment |= {f"GATEWAY_{number}": each for number, each in enumerate(gateways, 1)}
    environment["HAPROXY_LISTEN"] = f"127.0.0.1:{port}"
    if ca_file is not None:
        environment["GATEWAY_CA"] = ca_file
    with launched([program(), "-f", str(CONFIGURATION)], environment, log) as process:
        wait_for(f"http://127.0.0.1:{port}", 200 if is_ready else 503, process, log)
        yield f"http://127.0.0.1:{port}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@contextmanager
def launched(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in the repository's folder, killed when the context ends."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(url: str, status: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Waits for this answer of /readyz. Fails if the process ends or the time is over."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/readyz").status_code == status:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@dataclass
class Seen:
    """The results of one kind of request: counts by status, or by error without a status."""

    outcomes: Counter[str] = field(default_factory=Counter)
    repeated_count: int = 0
    slowest_seconds: float = 0.0

    @property
    def failures(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "200"}

    @property
    def successes(self) -> int:
        return self.outcomes["200"]


class Callers:
    """Keep-alive connections that send requests until they are stopped.

    If a reused connection is closed without an answer, a repeatable request is sent once more at
    once, as browsers and curl do (RFC 9110, section 9.2.2).
    """

    KINDS = ("read", "keyed pull", "pull")

    def __init__(self, url: str, players: Sequence[PullingPlayer]) -> None:
        self._url = url
        self._players = players
        self._stop = asyncio.Event()
        self.seen = {kind: Seen() for kind in self.KINDS}

    async def run(self) -> None:
        """Two connections for each player and kind."""
        await asyncio.gather(
            *(
                self._ask(kind, player)
                for kind in self.KINDS
                for player in self._players
                for _ in range(2)
            )
        )

    def stop(self) -> None:
        self._stop.set()

    async def until_more_of_each(self, count: int) -> None:
        """Waits until that many more of each kind have succeeded."""
        wanted = {kind: seen.successes + count for kind, seen in self.seen.items()}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(self.seen[kind].successes < count for kind, count in wanted.items()):
                await asyncio.sleep(0.02)

    async def _ask(self, kind: str, player: PullingPlayer) -> None:
        seen = self.seen[kind]
        async with httpx.AsyncClient(base_url=self._url, timeout=15) as client:
            while not self._stop.is_set():
                headers = player.headers
                if kind == "keyed pull":
                    headers = headers | {"idempotency-key": uuid4().hex}
                began = time.monotonic()
                outcome = await self._send(client, kind, headers)
                if outcome in CLOSED and kind != "pull":
                    seen.repeated_count += 1
                    outcome = await self._send(client, kind, headers)
                seen.outcomes[outcome] += 1
                seen.slowest_seconds = max(seen.slowest_seconds, time.monotonic() - began)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self, client: httpx.AsyncClient, kind: str, headers: dict[str, str]) -> str:
        try:
            if kind == "read":
                answer = await client.get("/currency", headers=headers)
            else:
                pull = {"count": 1}
                answer = await client.post("/gacha/pull/standard", json=pull, headers=headers)
        except httpx.TransportError as error:
            return type(error).__name__
        return str(answer.status_code)
