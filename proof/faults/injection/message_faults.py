"""Protocol messages that are duplicated, delayed, or lose their answer.

The harness writes the probabilities and their end time into one file; each process reads it at
every message. A delayed message is delivered in the background, after its caller saw a broken
connection: up to tens of seconds later, after recovery and after every expiry of the protocol.
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
from mesh.txn.model import Operation, Vote
from mesh.txn.sides import DecidingParticipantClient

PROTOCOL = "/tx.v1."
LATE_CALL_SECONDS = 3.0
FILE = "message_faults.json"

PARTICIPANT = f"{PROTOCOL}ParticipantService"

T = TypeVar("T")
Deliver = Callable[[], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class MessageFaults:
    """The probabilities of each fault, for messages whose method ends with one of `methods`.

    `delays_seconds` are the possible delays of a repeated or held back message.
    """

    until: float = 0.0
    methods: Sequence[str] = ()
    repeated: float = 0.0
    held_back: float = 0.0
    unanswered: float = 0.0
    delays_seconds: Sequence[float] = (0.0,)


class MessageFaultFile:
    """The faults in the harness's file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._read_at = 0
        self._message_faults = MessageFaults()

    def now(self) -> MessageFaults:
        """The current faults; none if nothing was written, or after their end time."""
        try:
            written_at = self._path.stat().st_mtime_ns
            if written_at != self._read_at:
                self._message_faults = MessageFaults(**orjson.loads(self._path.read_bytes()))
                self._read_at = written_at
        except FileNotFoundError:
            return MessageFaults()
        return self._message_faults if time.time() < self._message_faults.until else MessageFaults()

    def write(self, faults: MessageFaults) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(orjson.dumps(faults))
        draft.replace(self._path)


class FaultyDelivery:
    """Delivers messages, and injects the faults into the delivery."""

    def __init__(self, message_faults: MessageFaultFile, chance: random.Random) -> None:
        self._file = message_faults
        self._chance = chance
        self._late: set[asyncio.Task[None]] = set()

    async def carry(self, method: str, deliver: Deliver[T], deliver_late: Deliver[T]) -> T:
        """Returns or raises what `deliver` does, or raises ConnectionBroken."""
        faults = self._file.now()
        if not method.startswith(PROTOCOL) or not method.endswith(tuple(faults.methods)):
            return await deliver()
        draw = self._chance.random()
        if draw < faults.held_back:
            self._later(deliver_late, faults)
            raise ConnectionBroken(was_sent=True)
        draw -= faults.held_back
        if draw < faults.repeated:
            self._later(deliver_late, faults)
            return await deliver()
        answer = await deliver()
        if draw - faults.repeated < faults.unanswered:
            raise ConnectionBroken(was_sent=True)
        return answer

    def _later(self, deliver: Deliver[T], faults: MessageFaults) -> None:
        delay_seconds = self._chance.choice(faults.delays_seconds)

        async def come_late() -> None:
            await asyncio.sleep(delay_seconds)
            with contextlib.suppress(MeshError):
                await deliver()

        task = asyncio.create_task(come_late())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


class FaultyTransport:
    """A `mesh.calling.transport.Transport` that injects the faults."""

    def __init__(self, inner: Transport, delivery: FaultyDelivery) -> None:
        self._inner = inner
        self._delivery = delivery

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

        return await self._delivery.carry(
            method, lambda: deliver(timeout_seconds), lambda: deliver(LATE_CALL_SECONDS)
        )

    def retain(self, addresses: Iterable[str]) -> None:
        self._inner.retain(addresses)

    async def close(self) -> None:
        await self._inner.close()


class FaultyParticipant:
    """A `mesh.txn.local.client.LocalParticipant` that injects the faults as for a remote one."""

    def __init__(self, inner: DecidingParticipantClient, delivery: FaultyDelivery) -> None:
        self._inner = inner
        self._delivery = delivery

    async def prepare(
        self,
        gid: str,
        operations: Sequence[Operation[object]],
        first_operations: bytes,
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        return await self._carry(
            "Prepare",
            deadline,
            lambda within: self._inner.prepare(gid, operations, first_operations, within),
        )

    async def commit(self, gid: str, deadline: Deadline) -> None:
        await self._carry("Commit", deadline, lambda within: self._inner.commit(gid, within))

    async def abort(self, gid: str, deadline: Deadline) -> None:
        await self._carry("Abort", deadline, lambda within: self._inner.abort(gid, within))

    async def _carry(
        self, method: str, deadline: Deadline, deliver: Callable[[Deadline], Awaitable[T]]
    ) -> T:
        return await self._delivery.carry(
            f"{PARTICIPANT}/{method}",
            lambda: deliver(deadline),
            lambda: deliver(Deadline.after(LATE_CALL_SECONDS)),
        )
