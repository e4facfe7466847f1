"""The processes: real coordinators and recoverers; each of their steps is a message."""

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.txn.coordinator import Coordinator
from mesh.txn.decisions import BEGINNING, DecisionLog, LogPosition
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import MAX_LISTED, Branch, Operation, Outcome, Vote
from mesh.txn.participant import Participant
from mesh.txn.recovery import BranchRecovery, DecisionRecovery
from mesh.txn.retention import RETENTION_SECONDS
from mesh.txn.sides import Answer, OperationPair
from tests.unit.mesh.txn.databases import Body, Log, Side
from tests.unit.mesh.txn.wire import Wire

Now = Callable[[], float]


class Process:
    """A process that can be killed; then none of its tasks continues."""

    def __init__(self, name: str, wire: Wire, log: Log, clock: Now) -> None:
        """`clock` is the process's own."""
        self.name, self.is_alive = name, True
        self.wire, self.clock = wire, clock
        self.log = LogClient(self, log)
        self.round: asyncio.Task[None] | None = None

    async def send(self, receiver: str, text: str, act: Callable[[], object]) -> Any:
        return await self.wire.carry(self, receiver, text, act)

    async def recover(self) -> None:
        """One round, as `keep_running` does it."""
        for run_once in self.rounds():
            with suppress(MeshError):
                await run_once()

    def rounds(self) -> Sequence[Callable[[], Any]]:
        raise NotImplementedError


class LogClient(DecisionLog):
    """The decisions; each statement about them is a message to their database."""

    def __init__(self, process: Process, log: Log) -> None:
        self._process, self._log = process, log
        self.max_listed = MAX_LISTED

    async def resolve(self, gid: str) -> Outcome:
        if "abort by age alone" in self._log.mutants:
            return Outcome.ABORT
        outcome = await self._send(f"Resolve {gid}", lambda: self._log.resolve(gid))
        assert isinstance(outcome, Outcome)
        return outcome

    async def operations(self, gid: str) -> bytes | None:
        text = f"GetOperations {gid}"
        written: bytes | None = await self._send(text, lambda: self._log.operations(gid))
        return written

    async def open_gids(self) -> list[str]:
        gids: list[str] = await self._send("ListOpen", self._log.open_gids)
        return gids

    async def unfinished(
        self, min_age_seconds: float, after: LogPosition = BEGINNING
    ) -> list[LogPosition]:
        positions: list[LogPosition] = await self._send(
            "ListUnfinished", lambda: self._log.unfinished(min_age_seconds, after)
        )
        return positions

    async def mark_done(self, gids: Collection[str]) -> None:
        shown = " ".join(sorted(gids))
        await self._send(f"MarkDone {shown}", lambda: self._log.mark_done(gids))

    async def _send(self, text: str, act: Callable[[], object]) -> Any:
        return await self._process.send("log", text, act)


class Client:
    """A participant as a coordinator calls it."""

    def __init__(self, process: Process, side: Side) -> None:
        self._process, self._side = process, side

    async def commit(self, gid: str, deadline: Deadline) -> None:
        await self._send(f"Commit {gid}", lambda: self._side.commit(gid))

    async def abort(self, gid: str, deadline: Deadline) -> None:
        await self._send(f"Abort {gid}", lambda: self._side.abort(gid))

    async def _prepare(
        self,
        gid: str,
        operations: Sequence[Operation[Any]],
        first_operations: bytes | None,
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        expires_at = self._process.clock() + deadline.remaining_seconds()
        asked = ", ".join(f"{each.id} {each.body.player} {each.body.gems}" for each in operations)
        votes: Sequence[Vote[object]] = await self._send(
            f"Prepare {gid} [{asked}]",
            lambda: self._side.prepare(gid, expires_at, operations, first_operations),
        )
        return votes

    async def _send(self, text: str, act: Callable[[], object]) -> Any:
        return await self._process.send(self._side.name, text, act)


class FirstClient(Client):
    """The account."""

    async def prepare(
        self,
        gid: str,
        operations: Sequence[Operation[Any]],
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        return await self._prepare(gid, operations, None, deadline)

    def written(self, operations: Sequence[Operation[Any]]) -> bytes:
        return json.dumps(
            [[each.id, each.body.player, each.body.gems] for each in operations]
        ).encode()

    async def redo(self, gid: str, written: bytes, deadline: Deadline) -> None:
        operations = [Operation(key, Body(*body)) for key, *body in json.loads(written)]
        await self._send(f"Redo {gid}", lambda: self._side.redo(gid, operations))


class DecidingClient(Client):
    """The gacha."""

    async def prepare(
        self,
        gid: str,
        operations: Sequence[Operation[Any]],
        first_operations: bytes,
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        return await self._prepare(gid, operations, first_operations, deadline)


class OwnBranches(Participant[Any, Any]):
    """A participant as the recovery in its own process uses it."""

    def __init__(self, process: Process, side: Side) -> None:
        self._process, self._side = process, side

    async def commit(self, gid: str) -> None:
        await self._send(f"Commit {gid}", lambda: self._side.commit(gid))

    async def abort(self, gid: str) -> None:
        await self._send(f"Abort {gid}", lambda: self._side.abort(gid))

    async def branches(self, min_age_seconds: float) -> list[Branch]:
        found: list[Branch] = await self._send(
            "ListBranches", lambda: self._side.branches(min_age_seconds)
        )
        return found

    def forgettable_before(self) -> datetime:
        return datetime.fromtimestamp(self._process.clock() - RETENTION_SECONDS, UTC)

    async def forget_old_gids(self, before: datetime, open_gids: Collection[str]) -> None:
        oldest = before.timestamp()
        await self._send("ForgetGids", lambda: self._side.forget_old_gids(oldest, open_gids))

    async def _send(self, text: str, act: Callable[[], object]) -> Any:
        return await self._process.send(self._side.name, text, act)


class AccountProcess(Process):
    """Recovers the branches of the account."""

    def __init__(self, side: Side, **shared: Any) -> None:
        super().__init__(**shared)
        self._branches = BranchRecovery(
            OwnBranches(self, side), self.log, follows=True, rounds_between_cleanups=1
        )

    def rounds(self) -> Sequence[Callable[[], Any]]:
        return [self._branches.run_once]


class GachaProcess(Process):
    """Runs pulls, and recovers the branches of the gacha and the decisions."""

    def __init__(
        self,
        first: Side,
        second: Side,
        token: Callable[[], str],
        timer: Now,
        coordinator_class: type[Coordinator],
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        account = FirstClient(self, first)
        coordinator = coordinator_class(
            self.name,
            account,
            DecidingClient(self, second),
            clock=self.clock,
            timer=timer,
            token=token,
        )
        self._group_commit = GroupCommit(coordinator, jitter=lambda: 0.5)
        self._branches = BranchRecovery(
            OwnBranches(self, second), self.log, follows=False, rounds_between_cleanups=1
        )
        self._decisions = DecisionRecovery(coordinator, self.log, account)

    def rounds(self) -> Sequence[Callable[[], Any]]:
        return [self._branches.run_once, self._decisions.run_once]

    async def pull(self, work: OperationPair, deadline: Deadline) -> Answer:
        return await self._group_commit.submit(work, deadline)
