"""Reads and plays a dialogue: a whole exchange in readable form.

A line with > is a command, the lines after it are its effects, and # is a comment.

    buy PLAYER GEMS          pull ID PLAYER GEMS [at PROCESS]
    deliver [COUNT | all]    delivers the oldest messages, and their replies
    deliver-of PROCESS       delivers all messages of one process, and no others
    lose, lose-reply, give-up    what happens to the oldest message
    late N                   delivers another copy of the Nth request
    kill PROCESS             wait SECONDS
    recover PROCESS          a round of recovery; all its messages arrive
    begin-recovery PROCESS   only starts the round
    forget GID               the account's database loses a branch
    cut-off-resolve GID      a Resolve dies after its first statement
    state                    shows the databases
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mesh.errors import Unavailable
from mesh.txn.coordinator import Coordinator
from tests.unit.mesh.txn.invariants import check_at_rest, check_now
from tests.unit.mesh.txn.processes import GachaProcess, Process
from tests.unit.mesh.txn.simulation import Pull, Simulation
from tests.unit.mesh.txn.wire import Message

COMMAND = "> "
DIALOGUES = Path(__file__).parent / "dialogues"


def play(
    text: str,
    mutants: Iterable[str] = (),
    coordinator_class: type[Coordinator] = Coordinator,
) -> str:
    """The dialogue with the actual effects after each command.

    Raises Violation when an invariant is broken, during the dialogue or at its end.
    """
    lines: list[str] = []
    player = Player(lines.append, mutants, coordinator_class)
    try:
        for line in text.splitlines():
            if line.startswith(COMMAND):
                lines.append(line)
                player.do(*line.removeprefix(COMMAND).split())
                check_now(player.simulation)
            elif line.startswith("#") or not line:
                lines.append(line)
        written = "\n".join(lines) + "\n"
        check_at_rest(player.simulation)
    finally:
        player.simulation.end()
    return written


class Player:
    """Carries out commands on a simulation of its own."""

    def __init__(
        self,
        tell: Callable[[str], object],
        mutants: Iterable[str],
        coordinator_class: type[Coordinator],
    ) -> None:
        self.simulation = Simulation(
            mutants=mutants,
            coordinator_class=coordinator_class,
            note=lambda line: tell(f"  {line}"),
        )
        self._sent: list[Message] = []

    def do(self, command: str, *arguments: str) -> None:
        getattr(self, f"_{command.replace('-', '_')}")(*arguments)
        self.simulation.loop.run_ready()

    def _buy(self, player: str, gems: str) -> None:
        self.simulation.account.buy(player, int(gems))

    def _pull(self, pull_id: str, player: str, gems: str, *at: str) -> None:
        pull = self.simulation.pulls.get(pull_id) or Pull(pull_id, player, int(gems))
        process = self._process(at[-1]) if at else self.simulation.coordinators[0]
        assert isinstance(process, GachaProcess)
        self.simulation.submit(process, pull)

    def _deliver(self, how_many: str = "1") -> None:
        if how_many == "all":
            self.simulation.deliver_all()
            return
        for _ in range(int(how_many)):
            self.simulation.wire.deliver(self._oldest())
            self.simulation.loop.run_ready()

    def _deliver_of(self, name: str) -> None:
        self.simulation.deliver_all_of(self._process(name))

    def _lose(self) -> None:
        self.simulation.wire.lose(self._oldest())

    def _lose_reply(self) -> None:
        self.simulation.wire.deliver(self._oldest(), is_answered=False)

    def _give_up(self) -> None:
        self.simulation.wire.give_up(self._oldest())

    def _late(self, which: str) -> None:
        self.simulation.wire.repeat(list(self.simulation.wire.late)[int(which) - 1])

    def _kill(self, name: str) -> None:
        self.simulation.kill(self._process(name))

    def _wait(self, seconds: str) -> None:
        self.simulation.loop.advance(float(seconds))

    def _recover(self, name: str) -> None:
        self.simulation.start_recovery(self._process(name))
        self.simulation.deliver_all_of(self._process(name))

    def _begin_recovery(self, name: str) -> None:
        self.simulation.start_recovery(self._process(name))

    def _forget(self, short: str) -> None:
        (gid,) = (
            each
            for each in self.simulation.account.prepared
            if self.simulation.short(each) == short
        )
        self.simulation.account.lose(gid)

    def _cut_off_resolve(self, short: str) -> None:
        (gid,) = (
            each for each in self.simulation.gacha.prepared if self.simulation.short(each) == short
        )
        with suppress(Unavailable):
            self.simulation.log.resolve(gid, is_cut_off=True)

    def _state(self) -> None:
        for line in _described(self.simulation):
            self.simulation.note(line)

    def _oldest(self) -> Message:
        return self.simulation.wire.in_flight[0]

    def _process(self, name: str) -> Process:
        return next(each for each in self.simulation.processes if each.name == name)


def _described(simulation: Simulation) -> Iterator[str]:
    for player, balance in simulation.account.balances.items():
        yield f"{player} has {balance} gems"
    for side in (simulation.account, simulation.gacha):
        facts = [f"{fact.id} {fact.item or fact.gems}" for fact in side.facts]
        yield f"{side.name}: {', '.join(facts) or 'nothing'}; prepared: {_listed(side.prepared)}"
    for gid, row in simulation.gacha.gids.items():
        outcome = "abort" if row.aborted else "commit"
        yield f"decided: {gid} {outcome}{', open' if gid in simulation.gacha.decided else ''}"


def _listed(gids: Collection[str]) -> str:
    return ", ".join(gids) or "none"
