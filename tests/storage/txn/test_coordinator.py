"""Whole transactions over two real databases, interrupted at every message.

The interruption is put in at the coordinator's seam: a message or its answer is
lost, or the coordinator ends. Then recovery runs, and both databases must agree.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from mesh.failpoints import Reach, unharmed
from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.coordinator import Committed, Coordinator, Work
from mesh.txn.decisions import DecisionLog
from mesh.txn.group_commit import GroupCommit
from mesh.txn.model import BUSY, No, Operation, Outcome, Vote, Yes
from mesh.txn.participant import Participant
from mesh.txn.recovery import BranchRecovery, DecisionRecovery
from tests.storage.conftest import empty

TABLE = "CREATE TABLE applied (id uuid PRIMARY KEY, player text NOT NULL);"


def apply(cursor: Cursor, operations: Sequence[Operation[str]]) -> list[Vote[str]]:
    """Records the operation, unless its body is a refusal."""
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
    """Counts messages, and at one of them does something else than to deliver it."""

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
class House:
    """Two databases with their participants and the decision log in the second."""

    first_database: Database
    second_database: Database
    first: Participant[str, str]
    second: Participant[str, str]
    reach: Reach = unharmed

    def group_commit(self, wire: Wire) -> GroupCommit:
        return GroupCommit(self.coordinator(wire))

    def coordinator(self, wire: Wire) -> Coordinator:
        return Coordinator(
            "coordinator-1",
            Local("first", self.first, wire),
            Local("second", self.second, wire),
            WiredLog(self.second_database, wire),
            reach=self.reach,
        )

    async def recover(self) -> None:
        """What another instance does, a second later."""
        decisions = DecisionLog(self.second_database)
        rounds = (
            BranchRecovery(
                self.first, decisions, commits=True, min_age_seconds=0, reach=self.reach
            ),
            BranchRecovery(
                self.second, decisions, commits=False, min_age_seconds=0, reach=self.reach
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
            reach=self.reach,
        )

    async def recover_commits(self, gid: str) -> None:
        """What follows a decision to commit."""
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


@pytest.fixture
def databases(shared_database: Callable[[str, str], Database]) -> tuple[Database, Database]:
    schema = branches.SCHEMA + TABLE
    return (
        shared_database("first_side", schema),
        shared_database("second_side", schema + decision_log.SCHEMA),
    )


@pytest.fixture
async def house(databases: tuple[Database, Database]) -> House:
    first, second = databases
    await empty(first)
    await empty(second)
    return House(
        first, second, Participant(first, "first", apply), Participant(second, "second", apply)
    )


def work(first: str = "player", second: str = "player") -> Work:
    return Work(str(uuid4()), "player", first, second)


async def test_a_transaction_takes_effect_in_both_databases(house: House) -> None:
    wire, asked = Wire(), work()
    answer = await house.group_commit(wire).submit(asked, Deadline.after(5))
    assert answer == Committed("player", "player")
    assert await house.applied() == ({asked.id}, {asked.id})
    assert wire.seen == [
        "prepare first",
        "prepare second",
        "decide commit",
        "commit first",
        "commit second",
    ]


@pytest.mark.parametrize("side", ["first", "second"])
async def test_a_refusal_of_either_side_changes_nothing(house: House, side: str) -> None:
    asked = work(**{side: "refuse"})
    answer = await house.group_commit(Wire()).submit(asked, Deadline.after(5))
    assert answer == No("REFUSED")
    assert await house.applied() == (set(), set())
    assert await house.prepared_count() == 0


STRIKES = ["message lost", "answer lost", "ended before", "ended after"]


@pytest.mark.parametrize(("strike", "at"), list(itertools.product(STRIKES, range(1, 6))))
async def test_whatever_is_lost_or_ends_both_databases_agree(
    house: House, strike: str, at: int
) -> None:
    asked = work()
    wire = Wire(strike_at=at, strike=strike)
    caller = asyncio.create_task(house.group_commit(wire).submit(asked, Deadline.after(3)))
    killed = asyncio.create_task(wire.ended.wait())
    await asyncio.wait({caller, killed}, return_when=asyncio.FIRST_COMPLETED)
    killed.cancel()
    answer = caller.exception() or caller.result() if caller.done() else None
    caller.cancel()
    assert len(wire.seen) >= at, "the strike came"
    await house.recover()
    first, second = await house.applied()
    assert first == second
    assert await house.prepared_count() == 0
    if isinstance(answer, Committed):
        assert first == {asked.id}
    decided = "decide commit" in wire.seen[: at - 1] or (
        wire.seen[at - 1] == "decide commit" and strike.endswith(("answer lost", "after"))
    )
    if decided:
        assert first == {asked.id}, "what was decided is done"
    # The caller tries again with the same operation, as one with the same idempotency key does.
    again = await house.group_commit(Wire()).submit(asked, Deadline.after(5))
    assert again == (No("DUPLICATE") if first else Committed("player", "player"))
    assert await house.applied() == ({asked.id}, {asked.id})


async def test_a_recoverer_that_is_faster_makes_the_coordinator_start_anew(house: House) -> None:
    class Impatient(Wire):
        async def carry(self, name: str, deliver: Callable[[], object]) -> object:
            if name == "decide commit" and "decide commit" not in self.seen:
                await house.recover()
            return await super().carry(name, deliver)

    asked = work()
    wire = Impatient()
    answer = await house.group_commit(wire).submit(asked, Deadline.after(5))
    assert answer == Committed("player", "player")
    assert wire.seen.count("prepare first") == 2
    assert await house.applied() == ({asked.id}, {asked.id})
    assert await house.prepared_count() == 0


async def test_a_busy_participant_is_asked_again_until_the_deadline(house: House) -> None:
    answers = iter([[No(BUSY)], [No(BUSY)]])

    class Busy(Local):
        async def prepare(self, *arguments: object) -> Sequence[Vote[object]]:
            votes = next(answers, None)
            return votes if votes else await super().prepare(*arguments)  # type: ignore[arg-type]

    wire, asked = Wire(), work()
    coordinator = Coordinator(
        "coordinator-1",
        Busy("first", house.first, wire),
        Local("second", house.second, wire),
        WiredLog(house.second_database, wire),
    )
    assert await GroupCommit(coordinator).submit(asked, Deadline.after(5)) == Committed(
        "player", "player"
    )


async def test_work_of_one_player_is_done_one_after_another(house: House) -> None:
    running, most = 0, 0

    class Counting(Local):
        async def prepare(self, *arguments: object) -> Sequence[Vote[object]]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            return await super().prepare(*arguments)  # type: ignore[arg-type]

        async def commit(self, gid: str, deadline: Deadline) -> None:
            nonlocal running
            await super().commit(gid, deadline)
            running -= 1

    wire = Wire()
    coordinator = Coordinator(
        "coordinator-1",
        Counting("first", house.first, wire),
        Local("second", house.second, wire),
        WiredLog(house.second_database, wire),
    )
    group_commit = GroupCommit(coordinator)
    answers = await asyncio.gather(
        *(group_commit.submit(work(), Deadline.after(10)) for _ in range(8))
    )
    assert all(isinstance(answer, Committed) for answer in answers)
    assert most == 1


async def test_a_caller_that_goes_away_stops_nothing(house: House) -> None:
    asked = work()
    wire = Wire()
    group_commit = house.group_commit(wire)
    caller = asyncio.create_task(group_commit.submit(asked, Deadline.after(5)))
    while not wire.seen:
        await asyncio.sleep(0)
    caller.cancel()
    async with asyncio.timeout(5):
        while await house.applied() != ({asked.id}, {asked.id}):
            await asyncio.sleep(0.01)
    assert await house.prepared_count() == 0


async def test_a_caller_that_goes_away_before_its_turn_costs_nothing(house: House) -> None:
    wire, asked = Wire(), work()
    group_commit = house.group_commit(wire)
    caller = asyncio.create_task(group_commit.submit(asked, Deadline.after(5)))
    await asyncio.sleep(0)
    caller.cancel()
    other = Work(str(uuid4()), "other", "other", "other")
    assert isinstance(await group_commit.submit(other, Deadline.after(5)), Committed)
    assert await house.applied() == ({other.id}, {other.id})


def many(count: int, first: str = "player") -> list[Work]:
    """Work of as many players."""
    return [Work(str(uuid4()), f"player-{number}", first, "player") for number in range(count)]


async def test_what_waits_together_goes_together(house: House) -> None:
    wire = Wire()
    group_commit = house.group_commit(wire)
    asked = many(300)
    answers = await asyncio.gather(*(group_commit.submit(one, Deadline.after(10)) for one in asked))
    assert all(isinstance(answer, Committed) for answer in answers)
    assert wire.seen.count("prepare first") == 2, "256 and the rest"
    ids = {one.id for one in asked}
    assert await house.applied() == (ids, ids)


@pytest.mark.parametrize("side", ["first", "second"])
async def test_a_refused_work_fails_no_neighbour(house: House, side: str) -> None:
    group_commit = house.group_commit(Wire())
    good = many(20)
    bad = Work(str(uuid4()), "bad", **({"first": "x", "second": "x"} | {side: "refuse"}))
    answers = await asyncio.gather(
        *(group_commit.submit(one, Deadline.after(10)) for one in [*good[:10], bad, *good[10:]])
    )
    assert answers.pop(10) == No("REFUSED")
    assert all(isinstance(answer, Committed) for answer in answers)
    ids = {one.id for one in good}
    assert await house.applied() == (ids, ids)
    assert await house.prepared_count() == 0


@pytest.mark.parametrize("side", ["first", "second"])
async def test_a_poisonous_work_is_found_and_fails_alone(house: House, side: str) -> None:
    group_commit = house.group_commit(Wire())
    good = many(20)
    poison = {"first": "x", "second": "x"} | {side: "a NUL that PostgreSQL refuses: \0"}
    bad = Work(str(uuid4()), "bad", **poison)
    answers = await asyncio.gather(
        *(group_commit.submit(one, Deadline.after(10)) for one in [*good[:10], bad, *good[10:]]),
        return_exceptions=True,
    )
    assert isinstance(answers.pop(10), Internal)
    assert all(isinstance(answer, Committed) for answer in answers)
    ids = {one.id for one in good}
    assert await house.applied() == (ids, ids)
    assert await house.prepared_count() == 0


async def test_too_much_work_is_refused_at_once(house: House) -> None:
    group_commit = GroupCommit(house.coordinator(Wire()), max_waiting=8)
    answers = await asyncio.gather(
        *(group_commit.submit(one, Deadline.after(10)) for one in many(12)), return_exceptions=True
    )
    assert sum(isinstance(answer, Committed) for answer in answers) == 8
    refused = [answer for answer in answers if isinstance(answer, ResourceExhausted)]
    assert len(refused) == 4
    assert refused[0].retry_after_seconds
    assert isinstance(await group_commit.submit(work(), Deadline.after(5)), Committed)


async def test_one_player_cannot_fill_the_queue(house: House) -> None:
    group_commit = house.group_commit(Wire())
    answers = await asyncio.gather(
        *(group_commit.submit(work(), Deadline.after(20)) for _ in range(130)),
        return_exceptions=True,
    )
    assert [isinstance(answer, ResourceExhausted) for answer in answers[128:]] == [True, True]
    assert all(isinstance(answer, Committed) for answer in answers[:128])


async def test_work_whose_deadline_passed_in_the_queue_is_not_begun(house: House) -> None:
    wire = Wire()
    with pytest.raises(DeadlineExceeded):
        await house.group_commit(wire).submit(work(), Deadline.after(0))
    assert wire.seen == []


async def test_a_branch_that_cannot_be_settled_holds_up_no_other(house: House) -> None:
    def prepare_by_hand(cursor: Cursor) -> None:
        cursor.execute("BEGIN; INSERT INTO applied VALUES (gen_random_uuid(), 'x')")
        cursor.execute("PREPARE TRANSACTION 'first/no gid'")

    await house.first_database.autocommit(prepare_by_hand)
    wire = Wire(strike_at=2, strike="ended before")
    caller = asyncio.create_task(house.group_commit(wire).submit(work(), Deadline.after(3)))
    await wire.ended.wait()
    caller.cancel()

    decisions = DecisionLog(house.second_database)
    await BranchRecovery(house.first, decisions, commits=True, min_age_seconds=0).run_once()
    assert [branch.gid for branch in await house.first.branches(0)] == ["no gid"]
