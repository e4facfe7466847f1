"""All events of the protocol as steps that hypothesis chooses."""

from collections.abc import Iterable
from contextlib import suppress

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mesh.errors import Unavailable
from mesh.txn.coordinator import Coordinator
from tests.unit.mesh.txn.databases import GachaSide, Side
from tests.unit.mesh.txn.invariants import Violation, check_at_rest, check_now
from tests.unit.mesh.txn.simulation import Pull, Simulation
from tests.unit.mesh.txn.wire import Message

PLAYERS = ("ada", "bo", "cy")
FIRST_GEMS = 20
PRICES = (5, 10, 15, GachaSide.LIMIT_GEMS)
MOMENTS_SECONDS = (0.05, 0.2, 1.0, 3.5, 11.0, 90_000.0)
"""Past a pause, a round, the age of recovery, a deadline; and everything was away for a day."""
STALLS_SECONDS = (3.5, 3.5, 31.0, 3700.0, 3700.0, 90_000.0)
"""Past the age of recovery, that at which a gid is refused, and both retentions."""
MAX_PULLS = 8

picks = st.integers(0, 5)
"""Which of several: small, for most of what can go wrong is among the oldest."""


class ProtocolMachine(RuleBasedStateMachine):
    """Players pull, messages are delivered or lost, processes die, time passes."""

    mutants: Iterable[str] = ()
    coordinator_class: type[Coordinator] = Coordinator

    @initialize(skews=st.tuples(*[st.sampled_from((0.0, 0.0, -3.0, 3.0))] * 3))
    def start(self, skews: tuple[float, ...]) -> None:
        self.has_failed = False
        self.simulation = Simulation(
            skews_seconds=skews, mutants=self.mutants, coordinator_class=self.coordinator_class
        )
        for player in PLAYERS:
            self.simulation.account.buy(player, FIRST_GEMS)

    @precondition(lambda self: len(self.simulation.pulls) < MAX_PULLS)
    @rule(player=st.sampled_from(PLAYERS), price=st.sampled_from(PRICES), pick=picks)
    def pull(self, player: str, price: int, pick: int) -> None:
        number = len(self.simulation.pulls) + 1
        self._submit(Pull(f"pull-{number}", player, price), pick)

    @precondition(lambda self: self.simulation.pulls)
    @rule(which=picks, pick=picks)
    def pull_again(self, which: int, pick: int) -> None:
        pulls = list(self.simulation.pulls.values())
        self._submit(pulls[which % len(pulls)], pick)

    @rule(player=st.sampled_from(PLAYERS))
    def buy(self, player: str) -> None:
        self.simulation.account.buy(player, 10)

    @precondition(lambda self: self.simulation.wire.in_flight)
    @rule(pick=picks)
    def deliver(self, pick: int) -> None:
        self.simulation.wire.deliver(self._message(pick))
        self.simulation.loop.run_ready()

    @precondition(lambda self: self.simulation.wire.in_flight)
    @rule(how_many=st.integers(2, 6))
    def deliver_some(self, how_many: int) -> None:
        for _ in range(how_many):
            if self.simulation.wire.in_flight:
                self.simulation.wire.deliver(self.simulation.wire.in_flight[0])
                self.simulation.loop.run_ready()
                self.hold()

    @precondition(lambda self: self.simulation.wire.in_flight)
    @rule(pick=picks)
    def deliver_those_of_one_process(self, pick: int) -> None:
        processes = self.simulation.processes
        self.simulation.deliver_all_of(processes[pick % len(processes)])

    @precondition(lambda self: self.simulation.wire.in_flight)
    @rule(pick=picks, seconds=st.sampled_from(STALLS_SECONDS))
    def stall(self, pick: int, seconds: float) -> None:
        """A process is frozen in the middle of its work, and all others continue."""
        self.simulation.loop.advance(seconds)
        stalled = self._message(pick).sender
        self.simulation.recover_all(
            but=next(p for p in self.simulation.processes if p.name == stalled.name)
        )

    @precondition(lambda self: self.simulation.wire.in_flight)
    @rule(pick=picks)
    def lose_the_request(self, pick: int) -> None:
        self.simulation.wire.lose(self._message(pick))
        self.simulation.loop.run_ready()

    @precondition(lambda self: self.simulation.wire.in_flight)
    @rule(pick=picks)
    def lose_the_reply(self, pick: int) -> None:
        self.simulation.wire.deliver(self._message(pick), is_answered=False)
        self.simulation.loop.run_ready()

    @precondition(lambda self: self.simulation.wire.in_flight)
    @rule(pick=picks)
    def give_up(self, pick: int) -> None:
        self.simulation.wire.give_up(self._message(pick))
        self.simulation.loop.run_ready()

    @precondition(lambda self: self.simulation.wire.late)
    @rule(pick=st.integers(0, 23))
    def deliver_a_late_copy(self, pick: int) -> None:
        late = self.simulation.wire.late
        self.simulation.wire.repeat(late[pick % len(late)])

    @precondition(lambda self: self._to_abort())
    @rule(pick=picks)
    def cut_off_an_abort(self, pick: int) -> None:
        """A process that carries out an abort dies between its two statements."""
        to_abort = self._to_abort()
        side, gid = to_abort[pick % len(to_abort)]
        with suppress(Unavailable):
            side.abort(gid, is_cut_off=True)

    @precondition(lambda self: self.simulation.gacha.prepared)
    @rule(pick=picks)
    def cut_off_a_resolve(self, pick: int) -> None:
        """A process that forces an abort dies between its two statements."""
        prepared = list(self.simulation.gacha.prepared)
        with suppress(Unavailable):
            self.simulation.log.resolve(prepared[pick % len(prepared)], is_cut_off=True)

    @rule(pick=picks)
    def start_recovery(self, pick: int) -> None:
        processes = self.simulation.processes
        self.simulation.start_recovery(processes[pick % len(processes)])

    @rule(pick=picks)
    def kill(self, pick: int) -> None:
        processes = self.simulation.processes
        self.simulation.kill(processes[pick % len(processes)])

    @rule(seconds=st.sampled_from(MOMENTS_SECONDS))
    def wait(self, seconds: float) -> None:
        self.simulation.loop.advance(seconds)

    @rule(is_first=st.booleans())
    def fail_inside_the_next_prepare(self, is_first: bool) -> None:
        """A statement in it fails, so its PREPARE is answered with ROLLBACK."""
        side: Side = self.simulation.account if is_first else self.simulation.gacha
        side.fails_inside = True

    @precondition(lambda self: self.simulation.account.prepared)
    @rule(pick=picks)
    def forget_a_branch_of_the_first(self, pick: int) -> None:
        """No copy of its Prepare arrives later; ADR 0011 describes that case."""
        gids = list(self.simulation.account.prepared)
        gid = gids[pick % len(gids)]
        self.simulation.account.lose(gid)
        self.simulation.wire.drop_copies("account", f"Prepare {gid}")

    @invariant()
    def hold(self) -> None:
        if hasattr(self, "simulation"):
            try:
                check_now(self.simulation)
            except Violation:
                self.has_failed = True
                raise

    def teardown(self) -> None:
        if not hasattr(self, "simulation"):
            return
        try:
            if not self.has_failed:
                check_at_rest(self.simulation)
        finally:
            self.simulation.end()

    def _submit(self, pull: Pull, pick: int) -> None:
        coordinators = self.simulation.coordinators
        self.simulation.submit(coordinators[pick % len(coordinators)], pull)

    def _to_abort(self) -> list[tuple[Side, str]]:
        account, gacha = self.simulation.account, self.simulation.gacha
        return [
            (account, gid)
            for gid in account.prepared
            if gid in gacha.gids and gacha.gids[gid].aborted
        ]

    def _message(self, pick: int) -> Message:
        in_flight = self.simulation.wire.in_flight
        return in_flight[pick % len(in_flight)]
