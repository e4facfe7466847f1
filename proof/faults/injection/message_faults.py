"""Messages of the protocol that come twice, late, or whose answer is lost.

The harness writes how bad the weather is, and until when, into one file; each process
reads it at every message. What comes late comes in the background, after its caller
was told that the connection broke: seconds later, past recovery and past every age
at which the protocol forgets.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import orjson

from mesh.calling.transport import ConnectionBroken, Transport
from mesh.calls import Metadata
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.txn.coordinator import ParticipantClient
from mesh.txn.model import Operation, Vote

PROTOCOL = "/tx.v1."
LATE_CALL_SECONDS = 3.0
FILE = "weather.json"

PARTICIPANT = f"{PROTOCOL}ParticipantService"

T = TypeVar("T")
Deliver = Callable[[], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class Weather:
    """What becomes of a message whose method ends with one of `methods`, by chance.

    `delays_seconds` are how late a repeated or a held back message may come.
    """

    until: float = 0.0
    methods: Sequence[str] = ()
    repeated: float = 0.0
    held_back: float = 0.0
    unanswered: float = 0.0
    delays_seconds: Sequence[float] = (0.0,)


class Forecast:
    """The weather as the harness has written it last."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._read_at = 0
        self._weather = Weather()

    def now(self) -> Weather:
        """Fine when nothing was written, or when it is over."""
        try:
            written_at = self._path.stat().st_mtime_ns
            if written_at != self._read_at:
                self._weather = Weather(**orjson.loads(self._path.read_bytes()))
                self._read_at = written_at
        except FileNotFoundError:
            return Weather()
        return self._weather if time.time() < self._weather.until else Weather()

    def write(self, weather: Weather) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(orjson.dumps(weather))
        draft.replace(self._path)


class Post:
    """Carries messages through the weather."""

    def __init__(self, forecast: Forecast, chance: random.Random) -> None:
        self._forecast = forecast
        self._chance = chance
        self._late: set[asyncio.Task[None]] = set()

    async def carry(self, method: str, deliver: Deliver[T], deliver_late: Deliver[T]) -> T:
        """What `deliver` answers. Raises what it raises, or ConnectionBroken."""
        weather = self._forecast.now()
        if not method.startswith(PROTOCOL) or not method.endswith(tuple(weather.methods)):
            return await deliver()
        draw = self._chance.random()
        if draw < weather.held_back:
            self._later(deliver_late, weather)
            raise ConnectionBroken(was_sent=True)
        draw -= weather.held_back
        if draw < weather.repeated:
            self._later(deliver_late, weather)
            return await deliver()
        answer = await deliver()
        if draw - weather.repeated < weather.unanswered:
            raise ConnectionBroken(was_sent=True)
        return answer

    def _later(self, deliver: Deliver[T], weather: Weather) -> None:
        delay_seconds = self._chance.choice(weather.delays_seconds)

        async def come_late() -> None:
            await asyncio.sleep(delay_seconds)
            with contextlib.suppress(MeshError):
                await deliver()

        task = asyncio.create_task(come_late())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


class WeatheredTransport:
    """A `mesh.calling.transport.Transport` in the weather."""

    def __init__(self, inner: Transport, post: Post) -> None:
        self._inner = inner
        self._post = post

    async def connect(self, address: str, timeout_seconds: float) -> None:
        await self._inner.connect(address, timeout_seconds)

    async def call(
        self,
        address: str,
        method: str,
        request: bytes,
        metadata: Metadata,
        timeout_seconds: float,
    ) -> bytes:
        def deliver(seconds: float) -> Awaitable[bytes]:
            return self._inner.call(address, method, request, metadata, seconds)

        return await self._post.carry(
            method, lambda: deliver(timeout_seconds), lambda: deliver(LATE_CALL_SECONDS)
        )

    def retain(self, addresses: Iterable[str]) -> None:
        self._inner.retain(addresses)

    async def close(self) -> None:
        await self._inner.close()


class WeatheredParticipant:
    """A `mesh.txn.local.LocalParticipant` in the weather, as if messages went to it too."""

    def __init__(self, inner: ParticipantClient, post: Post) -> None:
        self._inner = inner
        self._post = post

    async def prepare(
        self,
        gid: str,
        coordinator: str,
        operations: Sequence[Operation[object]],
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        return await self._carry(
            "Prepare",
            deadline,
            lambda within: self._inner.prepare(gid, coordinator, operations, within),
        )

    async def commit(self, gid: str, deadline: Deadline) -> None:
        await self._carry("Commit", deadline, lambda within: self._inner.commit(gid, within))

    async def abort(self, gid: str, deadline: Deadline) -> None:
        await self._carry("Abort", deadline, lambda within: self._inner.abort(gid, within))

    async def _carry(
        self, method: str, deadline: Deadline, deliver: Callable[[Deadline], Awaitable[T]]
    ) -> T:
        return await self._post.carry(
            f"{PARTICIPANT}/{method}",
            lambda: deliver(deadline),
            lambda: deliver(Deadline.after(LATE_CALL_SECONDS)),
        )
