"""Reads a dialogue and plays it: whole exchanges as people read them.

A line with > is a command, what follows it is what it makes happen, and # is a remark.

    buy PLAYER GEMS          pull ID PLAYER GEMS [at PROCESS]
    deliver [COUNT | all]    the oldest messages on their way, and their replies
    deliver-of PROCESS       all messages of one process, while all else stands still
    lose, lose-reply, give-up    what becomes of the oldest message
    late N                   another copy of the Nth request that was sent
    kill PROCESS             wait SECONDS
    recover PROCESS          a round of recovery, all of whose messages arrive
    begin-recovery PROCESS   only its beginning
    forget GID               the account's database loses a branch
    state                    what the databases hold
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from tests.unit.mesh.txn.house import House, Pull
from tests.unit.mesh.txn.invariants import check_at_rest, check_now
from tests.unit.mesh.txn.processes import GachaProcess, Process
from tests.unit.mesh.txn.wire import Message

COMMAND = "> "
DIALOGUES = Path(__file__).parent / "dialogues"


def play(text: str, mutants: Iterable[str] = ()) -> str:
    """The dialogue with what really happens after each of its commands.

    Raises Violation when an invariant breaks on the way, or does not hold at the end.
    """
    lines: list[str] = []
    player = Player(lines.append, mutants)
    try:
        for line in text.splitlines():
            if line.startswith(COMMAND):
                lines.append(line)
                player.do(*line.removeprefix(COMMAND).split())
                check_now(player.house)
            elif line.startswith("#") or not line:
                lines.append(line)
        written = "\n".join(lines) + "\n"
        check_at_rest(player.house)
    finally:
        player.house.end()
    return written


class Player:
    """Carries out commands on a house of its own."""

    def __init__(self, tell: Callable[[str], object], mutants: Iterable[str]) -> None:
        self.house = House(mutants=mutants, told=lambda line: tell(f"  {line}"))
        self._sent: list[Message] = []

    def do(self, command: str, *arguments: str) -> None:
        getattr(self, f"_{command.replace('-', '_')}")(*arguments)
        self.house.loop.run_ready()

    def _buy(self, player: str, gems: str) -> None:
        self.house.account.buy(player, int(gems))

    def _pull(self, pull_id: str, player: str, gems: str, *at: str) -> None:
        pull = self.house.pulls.get(pull_id) or Pull(pull_id, player, int(gems))
        process = self._process(at[-1]) if at else self.house.coordinators[0]
        assert isinstance(process, GachaProcess)
        self.house.submit(process, pull)

    def _deliver(self, how_many: str = "1") -> None:
        if how_many == "all":
            self.house.deliver_all()
            return
        for _ in range(int(how_many)):
            self.house.wire.deliver(self._oldest())
            self.house.loop.run_ready()

    def _deliver_of(self, name: str) -> None:
        self.house.deliver_all_of(self._process(name))

    def _lose(self) -> None:
        self.house.wire.lose(self._oldest())

    def _lose_reply(self) -> None:
        self.house.wire.deliver(self._oldest(), is_answered=False)

    def _give_up(self) -> None:
        self.house.wire.give_up(self._oldest())

    def _late(self, which: str) -> None:
        self.house.wire.repeat(list(self.house.wire.late)[int(which) - 1])

    def _kill(self, name: str) -> None:
        self.house.kill(self._process(name))

    def _wait(self, seconds: str) -> None:
        self.house.loop.advance(float(seconds))

    def _recover(self, name: str) -> None:
        self.house.start_recovery(self._process(name))
        self.house.deliver_all_of(self._process(name))

    def _begin_recovery(self, name: str) -> None:
        self.house.start_recovery(self._process(name))

    def _forget(self, short: str) -> None:
        (gid,) = (each for each in self.house.account.prepared if self.house.short(each) == short)
        self.house.account.lose(gid)

    def _state(self) -> None:
        for line in _described(self.house):
            self.house.told(line)

    def _oldest(self) -> Message:
        return self.house.wire.in_flight[0]

    def _process(self, name: str) -> Process:
        return next(each for each in self.house.processes if each.name == name)


def _described(house: House) -> Iterator[str]:
    for player, balance in house.account.balances.items():
        yield f"{player} has {balance} gems"
    for side in (house.account, house.gacha):
        facts = [f"{fact.id} {fact.item or fact.gems}" for fact in side.facts]
        yield f"{side.name}: {', '.join(facts) or 'nothing'}; prepared: {_listed(side.prepared)}"
    for gid, row in house.log.rows.items():
        yield f"decided: {gid} {row.outcome}{'' if row.done_at is None else ', done'}"


def _listed(gids: Collection[str]) -> str:
    return ", ".join(gids) or "none"
