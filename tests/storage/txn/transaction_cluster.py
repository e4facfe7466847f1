"""A coordinator over two real databases; the test can lose its messages."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.errors import Internal, Unavailable
from mesh.failpoints import Failpoint, no_failpoint
from mesh.postgres.database import Database
from mesh.txn.coordinator import Coordinator, OperationPair
from mesh.txn.decisions import DecisionLog
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import No, Operation, Outcome, Vote, Yes
from mesh.txn.participant import Participant
from mesh.txn.recovery import BranchRecovery, DecisionRecovery

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

    async def carry(self, name: str, deliver: Callable[[], object]) -> object:
        self.seen.append(name)
        struck = len(self.seen) == self.strike_at
        if struck and self.strike == "message lost":
            raise Unavailable("the message was lost")
        if struck and self.strike == "ended before":
            await self.end()
        answer = await deliver()  # type: ignore[misc]
        if struck and self.strike == "answer lost":
            raise Unavailable("the answer was lost")
        if struck and self.strike == "ended after":
            await self.end()
        return answer

    async def end(self) -> None:
        self.ended.set()
        await asyncio.Event().wait()


class Local:
    """A participant in this process, behind a wire."""

    def __init__(self, name: str, participant: Participant[str, str], wire: Wire) -> None:
        self._name = name
        self._participant = participant
        self._wire = wire

    async def prepare(
        self,
        gid: str,
        coordinator: str,
        operations: Sequence[Operation[object]],
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        async def deliver() -> object:
            try:
                return await self._participant.prepare(gid, time.time() + 10, operations)  # type: ignore[arg-type]
            except (psycopg2.Error, ValueError) as error:
                raise Internal("what a server makes of a bug") from error

        return await self._wire.carry(f"prepare {self._name}", deliver)  # type: ignore[return-value]

    def written(self, operations: Sequence[Operation[object]]) -> bytes:
        return json.dumps([[operation.id, operation.body] for operation in operations]).encode()

    async def commit(self, gid: str, deadline: Deadline) -> None:
        await self._wire.carry(f"commit {self._name}", lambda: self._participant.commit(gid))

    async def redo(self, gid: str, written: bytes, deadline: Deadline) -> None:
        operations = [Operation(*each) for each in json.loads(written)]
        await self._wire.carry(
            f"redo {self._name}", lambda: self._participant.redo(gid, operations)
        )

    async def abort(self, gid: str, deadline: Deadline) -> None:
        await self._wire.carry(f"abort {self._name}", lambda: self._participant.abort(gid))


class WiredLog(DecisionLog):
    """The decision log, behind the same wire."""

    def __init__(self, database: Database, wire: Wire) -> None:
        super().__init__(database)
        self._wire = wire

    async def decide(
        self, gid: str, wanted: Outcome, first_operations: bytes | None = None
    ) -> Outcome:
        answer = await self._wire.carry(
            f"decide {wanted}", lambda: DecisionLog.decide(self, gid, wanted, first_operations)
        )
        assert isinstance(answer, Outcome)
        return answer


@dataclass
class TransactionCluster:
    """Two databases with their participants and the decision log in the second."""

    first_database: Database
    second_database: Database
    first: Participant[str, str]
    second: Participant[str, str]
    failpoint: Failpoint = no_failpoint

    def group_commit(self, wire: Wire) -> GroupCommit:
        return GroupCommit(self.coordinator(wire))

    def coordinator(self, wire: Wire) -> Coordinator:
        return Coordinator(
            "coordinator-1",
            Local("first", self.first, wire),
            Local("second", self.second, wire),
            WiredLog(self.second_database, wire),
            failpoint=self.failpoint,
        )

    async def recover(self) -> None:
        """Recovers like another instance, a second later."""
        decisions = DecisionLog(self.second_database)
        rounds = (
            BranchRecovery(
                self.first, decisions, commits=True, min_age_seconds=0, failpoint=self.failpoint
            ),
            BranchRecovery(
                self.second, decisions, commits=False, min_age_seconds=0, failpoint=self.failpoint
            ),
            self.decision_recovery(Wire()),
        )
        for one in rounds:
            await one.run_once()

    def decision_recovery(self, wire: Wire, min_age_seconds: float = 0) -> DecisionRecovery:
        return DecisionRecovery(
            self.coordinator(Wire()),
            DecisionLog(self.second_database),
            Local("first", self.first, wire),
            Local("second", self.second, wire),
            min_age_seconds=min_age_seconds,
            failpoint=self.failpoint,
        )

    async def recover_commits(self, gid: str) -> None:
        """Carries out the decisions to commit."""
        await self.first.commit(gid)
        await self.second.commit(gid)

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


def many(count: int, first: str = "player") -> list[OperationPair]:
    """Operations of that many players."""
    return [
        OperationPair(str(uuid4()), f"player-{number}", first, "player") for number in range(count)
    ]
