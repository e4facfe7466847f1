"""Rounds of faults under load; each is followed by checks of all data.

A round injects one or more faults at the same time while players pull, buy and give. Then the
load runs a moment longer and is paused. When everything is settled, all data is checked. The
seed determines the order of the faults; each fault is used once before any is used again.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from mesh.txn import failpoints
from proof.faults.checks import sagas, settled
from proof.faults.checks.settled import Reader
from proof.faults.findings import Check, Findings
from proof.faults.history import History, Operation
from proof.faults.injection import saga_failpoints
from proof.faults.injection.fault import Fault, Group, InjectionContext
from proof.faults.injection.target import Target
from proof.faults.load.player_load import PlayerLoad
from proof.load.seeded_players import make_players
from proof.load.session_refresher import SessionRefresher

AFTER_FAULT_SECONDS = 0.7
IDLE_GRACE_SECONDS = 30.0
POLL_SECONDS = 0.05
READER_PAUSE_SECONDS = 0.1
REPEATERS = 16
GROUP_SHARES = {
    Group.POINT: 1.0,
    Group.MESSAGES: 0.4,
    Group.KILL: 0.25,
    Group.DATABASE: 0.35,
    Group.PAYMENTS: 0.25,
}
"""The share of rounds that have a fault of the group."""
LOSS_SHARE = 0.06
"""The share of rounds that have only the loss of a branch. It is not combined with other faults,
because ADR 11 does not cover a repeated Prepare that arrives after the loss of its branch."""

POINTS = frozenset(
    (
        *failpoints.of_participant("account"),
        *failpoints.of_participant("gacha"),
        *failpoints.OF_A_COORDINATOR,
        *failpoints.OF_BRANCH_RECOVERY,
        *failpoints.OF_DECISION_RECOVERY,
        *saga_failpoints.OF_GIFTS,
        *saga_failpoints.OF_PURCHASES,
    )
)


@dataclass(frozen=True, slots=True)
class Size:
    """The amount of load, the length of stalls, and the time within which the databases, the
    sagas and a player must settle everything."""

    player_count: int = 300
    connection_count: int = 40
    stalls_seconds: Sequence[float] = (4.0,)
    settle_seconds: float = 20.0
    sagas_seconds: float = 60.0
    operation_seconds: float = 120.0


@dataclass
class Tally:
    """The counts of a run."""

    injected: Counter[str] = field(default_factory=Counter)
    """By kind."""
    missed: list[str] = field(default_factory=list)
    """The names of faults that had no effect, once for each time."""
    rounds: int = 0
    seconds: float = 0.0
    reads: int = 0
    reached: set[str] = field(default_factory=set)


class FaultDeck:
    """Draws the faults of each group in a random order; all are drawn before any is repeated."""

    def __init__(self, faults: Sequence[Fault], chance: random.Random) -> None:
        self._chance = chance
        self._all = {group: [fault for fault in faults if fault.group is group] for group in Group}
        self._left: dict[Group, list[Fault]] = {group: [] for group in Group}

    def draw(self) -> list[Fault]:
        """The faults of the next round, at least one."""
        has_others = any(self._all[group] for group in GROUP_SHARES)
        if self._all[Group.LOSS] and (not has_others or self._chance.random() < LOSS_SHARE):
            return [self._next(Group.LOSS)]
        drawn: list[Fault] = []
        while not drawn:
            drawn = [
                self._next(group)
                for group, share in GROUP_SHARES.items()
                if self._all[group] and self._chance.random() < share
            ]
        return drawn

    def put_back(self, fault: Fault) -> None:
        """Puts back a fault that had no effect."""
        self._left[fault.group].insert(0, fault)

    def _next(self, group: Group) -> Fault:
        if not self._left[group]:
            self._left[group] = self._chance.sample(self._all[group], len(self._all[group]))
        return self._left[group].pop()


class Campaign:
    """One run against one mesh."""

    def __init__(self, target: Target, folder: Path, seed: int, size: Size) -> None:
        """`folder` gets the history and the list of faults."""
        self._target, self._size = target, size
        self._chance = random.Random(seed)
        self._log = (folder / "faults.jsonl").open("ab")
        self.history = History(folder / "history.jsonl")
        self.findings = Findings()
        self.tally = Tally()
        players = make_players(target.mesh, size.player_count)
        self._load = PlayerLoad(
            target.mesh,
            players,
            self.history,
            self.findings,
            seed,
            settle_seconds=size.operation_seconds,
        )
        self._refresher = SessionRefresher(target.mesh, players, seed, self._find_lost_session)
        self._reader = Reader(target.mesh, self.findings)
        self._checked = {"done": 0, "refused": 0}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The load and the reader run until the context ends."""
        began_at = self.findings.began_at = time.monotonic()
        self._load.start(self._size.connection_count)
        beside = [
            asyncio.create_task(self._keep_reading()),
            asyncio.create_task(self._refresher.keep_refreshing()),
        ]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await self._load.stop()
            await asyncio.gather(*beside, return_exceptions=True)
            self.tally.seconds = time.monotonic() - began_at
            self.tally.reads = self._reader.read_count
            self.tally.reached = self._target.failpoints.reached() & POINTS
            self.history.close()
            self._log.close()

    async def round(self, faults: Sequence[Fault]) -> list[Fault]:
        """Injects the faults at the same time, then checks; returns those that had an effect."""
        self._load.go_on()
        came = await asyncio.gather(*(self._inject(fault) for fault in faults))
        await asyncio.sleep(AFTER_FAULT_SECONDS)
        await self._check()
        self.tally.rounds += 1
        return [fault for fault, did in zip(faults, came, strict=True) if did]

    async def _inject(self, fault: Fault) -> bool:
        context = InjectionContext(
            self._target,
            random.Random(self._chance.getrandbits(64)),
            self._size.stalls_seconds,
        )
        began_at = time.time()
        came = await asyncio.to_thread(fault.inject, context)
        if came:
            self.tally.injected[fault.kind] += 1
        else:
            self.tally.missed.append(fault.name)
        line = {"from": began_at, "to": time.time(), "fault": fault.name, "came_about": came}
        self._log.write(orjson.dumps(line) + b"\n")
        self._log.flush()
        return came

    async def _check(self) -> None:
        """Pauses the load, and checks everything."""
        self._load.hold()
        deadline = time.monotonic() + self._size.operation_seconds + IDLE_GRACE_SECONDS
        while not self._load.is_idle:
            assert time.monotonic() < deadline, "every operation has its own time limit"
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.to_thread(self._target.wait_until_back)
        mesh, findings, history = self._target.mesh, self.findings, self.history
        await asyncio.to_thread(
            settled.wait_until_settled, mesh, findings, self._size.settle_seconds
        )
        await asyncio.to_thread(sagas.wait_until_ended, mesh, findings, self._size.sagas_seconds)
        await asyncio.to_thread(settled.check_all, mesh, history, findings)
        await asyncio.to_thread(sagas.check_all, mesh, findings)
        findings.extend(Check.SESSIONS, await asyncio.to_thread(self._refresher.wrong))
        done, refused = (
            history.done[self._checked["done"] :],
            history.refused[self._checked["refused"] :],
        )
        await self._check_answers(done, refused)
        await self._load.repeat(
            [operation for operation in done if not operation.repeat_count], REPEATERS
        )
        self._checked = {"done": len(history.done), "refused": len(history.refused)}
        history.flush()

    async def check_all_answers(self) -> None:
        """Checks every answer of the run once more."""
        await self._check_answers(self.history.done, self.history.refused)

    async def _check_answers(self, done: Sequence[Operation], refused: Sequence[Operation]) -> None:
        for check in (settled.check_answers, sagas.check_answers):
            await asyncio.to_thread(check, self._target.mesh, self.findings, done, refused)

    def _find_lost_session(self, detail: str) -> None:
        self.findings.add(Check.SESSIONS, detail)

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.to_thread(self._reader.read_once)
            await asyncio.sleep(READER_PAUSE_SECONDS)


def chosen(faults: Mapping[str, Fault], words: Sequence[str]) -> list[Fault]:
    """The faults whose names contain one of the words; all if there are no words."""
    return [
        fault
        for name, fault in faults.items()
        if fault.group is not Group.QUIET and (not words or any(word in name for word in words))
    ]


def rounds_of(deck: FaultDeck, until: float) -> Iterator[list[Fault]]:
    """Draws rounds until that time on the monotonic clock."""
    while time.monotonic() < until:
        yield deck.draw()
