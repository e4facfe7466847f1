"""Joins the two databases, the processes, and the players who pull."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count

from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.txn.coordinator import Coordinator
from mesh.txn.model import DUPLICATE
from mesh.txn.sides import Committed, OperationPair
from tests.unit.mesh.txn.databases import AccountSide, Body, GachaSide, Log
from tests.unit.mesh.txn.loop import HandDrivenLoop
from tests.unit.mesh.txn.processes import AccountProcess, GachaProcess, Process
from tests.unit.mesh.txn.wire import Wire

GID = re.compile(r"[-_a-z0-9]+:[0-9]{13}:[0-9a-f]{16}")
EPOCH = 1_700_000_000.0
PULL_SECONDS = 10.0
MAX_MESSAGES = 5_000


@dataclass
class Pull:
    """A player's request under one idempotency key, with each answer so far."""

    id: str
    player: str
    gems: int
    request_count: int = 0
    refusals: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    is_known: bool = False
    """An answer said that it has taken effect, or will."""


class Simulation:
    """The whole model. Its state changes only when a method is called."""

    def __init__(
        self,
        *,
        gacha_count: int = 2,
        skews_seconds: Iterable[float] = (),
        mutants: Iterable[str] = (),
        coordinator_class: type[Coordinator] = Coordinator,
        note: Callable[[str], object] = lambda line: None,
    ) -> None:
        self.loop = HandDrivenLoop()
        self._note = note
        self.wire = Wire(self.note)
        broken = frozenset(mutants)
        self.account = AccountSide("account", self.now, broken)
        self.gacha = GachaSide("gacha", self.now, broken)
        self.log = Log(self.gacha, broken)
        self.pulls: dict[str, Pull] = {}
        self._coordinator_class = coordinator_class
        self._skews = dict(enumerate(skews_seconds))
        self._tokens = count(1)
        self._short: dict[str, str] = {}
        self.processes: list[Process] = [self._account_process(0)]
        self.processes += [self._gacha_process(number) for number in range(1, gacha_count + 1)]

    @property
    def coordinators(self) -> list[GachaProcess]:
        return [each for each in self.processes if isinstance(each, GachaProcess)]

    def now(self) -> float:
        """The databases' clock."""
        return EPOCH + self.loop.time()

    def submit(self, process: GachaProcess, pull: Pull) -> None:
        """A player sends a request to a process, for the first time or again."""
        self.pulls[pull.id] = pull
        pull.request_count += 1
        body = Body(pull.player, pull.gems)
        deadline = Deadline.after(PULL_SECONDS, self.loop.time)
        self.loop.create_task(
            self._ask(process, pull, OperationPair(pull.id, pull.player, body, body), deadline)
        )
        self.loop.run_ready()

    def start_recovery(self, process: Process) -> None:
        """Starts a recovery round unless one is running."""
        if process.round is None or process.round.done():
            process.round = self.loop.create_task(process.recover())
            self.loop.run_ready()

    def kill(self, process: Process) -> None:
        """Ends a process at once, and starts a new one in its place."""
        process.is_alive = False
        number = self.processes.index(process)
        make = self._account_process if number == 0 else self._gacha_process
        self.processes[number] = make(number)
        self.note(f"{process.name} is killed")

    def deliver_all(self) -> None:
        """Delivers all messages in order, and those that follow from them."""
        for _ in range(MAX_MESSAGES):
            if not self.wire.in_flight:
                return
            self.wire.deliver(self.wire.in_flight[0])
            self.loop.run_ready()
        raise AssertionError("the messages do not end")

    def deliver_all_of(self, process: Process) -> None:
        """Delivers all messages of one process, and no others."""
        for _ in range(MAX_MESSAGES):
            sent = [each for each in self.wire.in_flight if each.sender is process]
            if not sent:
                return
            self.wire.deliver(sent[0])
            self.loop.run_ready()
        raise AssertionError("the messages do not end")

    def recover_all(self, *, but: Process | None = None) -> None:
        """Every process but one does a round of recovery, with nothing lost."""
        for process in self.processes:
            if process is not but:
                self.start_recovery(process)
                self.deliver_all_of(process)

    def end(self) -> None:
        self.wire.is_closed = True
        self.loop.end()

    async def _ask(
        self, process: GachaProcess, pull: Pull, work: OperationPair, deadline: Deadline
    ) -> None:
        try:
            answer = await process.pull(work, deadline)
        except MeshError as error:
            pull.errors.append(error.reason)
            self.note(f"{pull.id} is answered: {error.reason}")
            return
        if isinstance(answer, Committed):
            pull.items.append(str(answer.second))
            self.note(f"{pull.id} is answered: {answer.second}")
        elif answer.reason == DUPLICATE:
            pull.is_known = True
            self.note(f"{pull.id} is answered: done before")
        else:
            pull.refusals.append(answer.reason)
            self.note(f"{pull.id} is refused: {answer.reason}")

    def note(self, line: str) -> None:
        """Records an event, with short names for gids."""
        self._note(GID.sub(lambda found: self.short(found[0]), line))

    def short(self, gid: str) -> str:
        """g1 for the first gid, g2 for the second, and so on."""
        return self._short.setdefault(gid, f"g{len(self._short) + 1}")

    def _clock_of(self, number: int) -> Callable[[], float]:
        skew_seconds = self._skews.get(number, 0.0)
        return lambda: self.now() + skew_seconds

    def _account_process(self, number: int) -> AccountProcess:
        return AccountProcess(
            self.account,
            name="account_svc-1",
            wire=self.wire,
            log=self.log,
            clock=self._clock_of(number),
        )

    def _gacha_process(self, number: int) -> GachaProcess:
        return GachaProcess(
            self.account,
            self.gacha,
            lambda: f"{next(self._tokens):016x}",
            self.loop.time,
            self._coordinator_class,
            name=f"gacha_svc-{number}",
            wire=self.wire,
            log=self.log,
            clock=self._clock_of(number),
        )
