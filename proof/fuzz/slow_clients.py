"""What players and probes see while a crowd of slow clients is connected to the gateway.

Guarantees that it checks: every pull succeeds, and every probe on a new connection is answered
in time. A connection that the gateway closed is replaced, and its pull repeated with its key.
"""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

from proof.fuzz.slow_crowd import KINDS
from proof.load.rest_connection import RestConnection

NOBODY = "no slow clients"
THINK_SECONDS = 0.02
MOST_REPEATS = 5
PROBE_SECONDS = 3.0
"""How long a probe or one attempt to pull may take: a balancer's usual timeout."""
CROWD_SECONDS = 120.0


@dataclass(slots=True)
class SlowResult:
    """What was seen beside one kind of slow clients. Times are in seconds."""

    kind: str
    open_count: int = 0
    opened_count: int = 0
    pulls: list[float] = field(default_factory=list)
    repeated_count: int = 0
    probes: list[float] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


class SlowClients:
    """Measures beside each kind of slow clients in turn, and first beside none."""

    def __init__(
        self,
        gateway: str,
        tokens: Sequence[str],
        *,
        connection_count: int,
        seconds: float,
        patience_seconds: float = PROBE_SECONDS,
    ) -> None:
        """`gateway` is its plain HTTP URL. `tokens` are those of players with gems, who pull at
        the same time. Each kind has that many connections, and is measured for `seconds`. One
        attempt to pull, and a probe, may take `patience_seconds`."""
        self._patience_seconds = patience_seconds
        self._gateway, self._tokens = gateway, tokens
        self._connection_count, self._seconds = connection_count, seconds

    async def run(self, kinds: Sequence[str] = (NOBODY, *KINDS)) -> AsyncIterator[SlowResult]:
        """The result of each kind."""
        for kind in kinds:
            result = SlowResult(kind)
            async with self._crowd(result):
                await self._measure(result)
            yield result

    @asynccontextmanager
    async def _crowd(self, result: SlowResult) -> AsyncIterator[None]:
        """The crowd; it is whole when the context begins."""
        if result.kind == NOBODY:
            yield
            return
        place, count = urlsplit(self._gateway).netloc, str(self._connection_count)
        program = (sys.executable, "-m", "proof.fuzz.slow_crowd", place, result.kind, count)
        process = await asyncio.create_subprocess_exec(*program, stdout=PIPE)
        try:
            async with asyncio.timeout(CROWD_SECONDS):
                await _count(process, result)
            counting = asyncio.create_task(_keep_counting(process, result))
            yield
            counting.cancel()
        finally:
            process.kill()
            await process.wait()

    async def _measure(self, result: SlowResult) -> None:
        ends_at = time.monotonic() + self._seconds
        await asyncio.gather(
            self._keep_probing(result, ends_at),
            *(self._keep_pulling(result, token, ends_at) for token in self._tokens),
        )

    async def _keep_pulling(self, result: SlowResult, token: str, ends_at: float) -> None:
        connection = RestConnection(self._gateway)
        while time.monotonic() < ends_at:
            key, began = uuid4().hex, time.monotonic()
            for _ in range(MOST_REPEATS):
                answer = await connection.send(
                    "POST /gacha/pull/standard",
                    token,
                    key,
                    b'{"count":1}',
                    patience_seconds=self._patience_seconds,
                )
                if answer is not None:
                    break
                result.repeated_count += 1
            result.pulls.append(time.monotonic() - began)
            if answer is None or answer.status != 200:
                result.findings.append(f"{result.kind}: a pull got {answer}")
            await asyncio.sleep(THINK_SECONDS)
        connection.close()

    async def _keep_probing(self, result: SlowResult, ends_at: float) -> None:
        while time.monotonic() < ends_at:
            probe, began = RestConnection(self._gateway), time.monotonic()
            answer = await probe.send(
                "GET /healthz", "", "", b"", patience_seconds=self._patience_seconds
            )
            if answer is None or answer.status != 200:
                result.findings.append(f"{result.kind}: a probe got {answer}")
            result.probes.append(time.monotonic() - began)
            probe.close()
            await asyncio.sleep(THINK_SECONDS)


async def _count(process: Process, result: SlowResult) -> None:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if line:
        result.open_count, result.opened_count = map(int, line.split())


async def _keep_counting(process: Process, result: SlowResult) -> None:
    while process.returncode is None:
        await _count(process, result)
