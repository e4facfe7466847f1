"""A coordinator over two real databases; the test can lose its messages."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.errors import Internal, Unavailable
from mesh.failpoints import Failpoint, no_failpoint
from mesh.postgres.database import Database
from mesh.txn.coordinator import Coordinator
from mesh.txn.decisions import DecisionLog
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import No, Operation, Vote, Yes
from mesh.txn.participant import Participant
from mesh.txn.recovery import BranchRecovery, DecisionRecovery
from mesh.txn.sides import Answer, FirstParticipantClient, OperationPair

Answers = Mapping[str, Answer]

TABLE = "CREATE TABLE applied (id uuid PRIMARY KEY, player text NOT NULL);"


def apply(cursor: Cursor, operations: Sequence[Operation[str]]) -> list[Vote[str]]:
    """Records the operation; refuses it if its body says so."""
    votes: list[Vote[str]] = []
    for operation in operations:
        if operation.body.startswith("refuse"):
            votes.append(No("REFUSED"))
            continue
        cursor.execute(
            "INSERT INTO applied VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING id",
            (operation.id, operation.body),
        )
        votes.append(Yes(operation.body) if cursor.fetchone() else No("DUPLICATE"))
    return votes


@dataclass
class Wire:
    """Counts messages, and injects a fault at one of them."""

    strike_at: int = 0
    strike: str = ""
    seen: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """The coordinator was killed: none of its code runs from here on."""
    in_flight: int = 0
    """How many messages are on their way, or not answered yet."""

    async def carry(self, name: str, deliver: Callable[[], object]) -> object:
        self.seen.append(name)
        struck = len(self.seen) == self.strike_at
        if struck and self.strike == "message lost":
            raise Unavailable("the message was lost")
        if struck and self.strike == "ended before":
            await self.end()
        self.in_flight += 1
        try:
            answer = await deliver()  # type: ignore[misc]
        finally:
            self.in_flight -= 1
        if struck and self.strike == "answer lost":
            raise Unavailable("the answer was lost")
        if struck and self.strike == "ended after":
            await self.end()
        return answer

    async def end(self) -> None:
        self.ended.set()
        await asyncio.Event().wait()


class _Wired:
    """A participant in this process, behind a wire: how its branches are ended."""

    name = ""

    def __init__(self, participant: Participant[Any, Any], wire: Wire) -> None:
        self._participant = participant
        self._wire = wire

    async def commit(self, gid: str, deadline: Deadline) -> None:
        await self._wire.carry(f"commit {self.name}", lambda: self._participant.commit(gid))

    async def abort(self, gid: str, deadline: Deadline) -> None:
        await self._wire.carry(f"abort {self.name}", lambda: self._participant.abort(gid))

    async def _prepare(
        self,
        gid: str,
        operations: Sequence[Operation[object]],
        first_operations: bytes | None = None,
    ) -> Sequence[Vote[object]]:
        async def deliver() -> object:
            try:
                return await self._participant.prepare(
                    gid, time.time() + 10, operations, first_operations
                )
            except (psycopg2.Error, ValueError) as error:
                raise Internal("what a server makes of a bug") from error

        return await self._wire.carry(f"prepare {self.name}", deliver)  # type: ignore[return-value]


class WiredFirst(_Wired):
    """The first participant, behind a wire."""

    name = "first"

    async def prepare(
        self,
        gid: str,
        operations: Sequence[Operation[object]],
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        return await self._prepare(gid, operations)

    def written(self, operations: Sequence[Operation[object]]) -> bytes:
        return json.dumps([[operation.id, operation.body] for operation in operations]).encode()

    def read(self, written: bytes) -> list[Operation[Any]]:
        return [Operation(*each) for each in json.loads(written)]

    async def redo(self, gid: str, written: bytes, deadline: Deadline) -> None:
        operations = self.read(written)
        await self._wire.carry("redo first", lambda: self._participant.redo(gid, operations))


class WiredSecond(_Wired):
    """The second participant, whose commit is the decision, behind a wire."""

    name = "second"

    async def prepare(
        self,
        gid: str,
        operations: Sequence[Operation[object]],
        first_operations: bytes,
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        return await self._prepare(gid, operations, first_operations)


async def run_until_killed(running: "asyncio.Task[Answers]", wire: Wire) -> Answers | None:
    """Waits until the coordinator was killed by the wire, or ended. What it had sent before
    arrives. Returns its answers, and None if it was killed or failed."""
    killed = asyncio.create_task(wire.ended.wait())
    await asyncio.wait({running, killed}, return_when=asyncio.FIRST_COMPLETED)
    killed.cancel()
    if running.done():
        return None if running.exception() else running.result()
    while wire.in_flight:
        await asyncio.sleep(0.001)
    running.cancel()
    return None


@dataclass
class TransactionCluster:
    """Two databases with their participants; the second decides."""

    first_database: Database
    second_database: Database
    failpoint: Failpoint = no_failpoint

    def __post_init__(self) -> None:
        self.first = Participant(self.first_database, "first", apply, failpoint=self.failpoint)
        self.second = Participant(
            self.second_database, "second", apply, failpoint=self.failpoint, decides=True
        )
        self.decisions = DecisionLog(self.second_database, self.second)

    def group_commit(self, wire: Wire) -> GroupCommit:
        return GroupCommit(self.coordinator(wire))

    def coordinator(self, wire: Wire, first: FirstParticipantClient | None = None) -> Coordinator:
        return Coordinator(
            "coordinator-1",
            first or WiredFirst(self.first, wire),
            WiredSecond(self.second, wire),
            failpoint=self.failpoint,
        )

    async def recover(self) -> None:
        """Recovers like another instance, a second later."""
        await self.branch_recovery(follows=True).run_once()
        await self.branch_recovery(follows=False).run_once()
        await self.decision_recovery().run_once()

    def branch_recovery(self, *, follows: bool, min_age_seconds: float = 0) -> BranchRecovery:
        """Of the first participant, which follows, or of the second."""
        return BranchRecovery(
            self.first if follows else self.second,
            self.decisions,
            follows=follows,
            min_age_seconds=min_age_seconds,
            failpoint=self.failpoint,
        )

    def decision_recovery(self) -> DecisionRecovery:
        wire = Wire()
        return DecisionRecovery(
            self.coordinator(wire),
            self.decisions,
            WiredFirst(self.first, wire),
            min_age_seconds=0,
            failpoint=self.failpoint,
        )

    async def applied(self) -> tuple[set[str], set[str]]:
        def select(cursor: Cursor) -> set[str]:
            cursor.execute("SELECT id::text FROM applied")
            return {operation_id for (operation_id,) in cursor.fetchall()}

        return (
            await self.first_database.autocommit(select),
            await self.second_database.autocommit(select),
        )

    async def prepared_count(self) -> int:
        return len(await self.first.branches(0)) + len(await self.second.branches(0))


def work(first: str = "player", second: str = "player") -> OperationPair:
    return OperationPair(str(uuid4()), "player", first, second)


IN_TURN = 8
"""A batch of that many operations is prepared on one side after the other."""


def many(count: int, first: str = "player") -> list[OperationPair]:
    """Operations of that many players."""
    return [
        OperationPair(str(uuid4()), f"player-{number}", first, "player") for number in range(count)
    ]


async def hold_gid(database: Database, gid: str) -> None:
    """Holds the gid's row in tx_branch, as a Prepare does that is under way. Ends with
    `release_gid`."""
    await database.autocommit(
        lambda cursor: cursor.execute(
            "BEGIN; INSERT INTO tx_branch (gid) VALUES (%s); PREPARE TRANSACTION 'holding'", (gid,)
        )
    )


async def release_gid(database: Database) -> None:
    await database.autocommit(lambda cursor: cursor.execute("ROLLBACK PREPARED 'holding'"))
