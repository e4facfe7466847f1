"""The windows of two meshes in turn: the present code's and another revision's.

Both meshes are up all the time, and one is under load. So both are equally warm, and the windows
of a pair are seconds apart; starting one mesh after the other would put the time of a start
between them. The mesh that rests costs both sides the same few per cent of a core.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol, TypeVar

from proof.bench.figures import Figures
from proof.bench.plan import Plan

OURS = "present code"
SideT = TypeVar("SideT")


@dataclass(frozen=True, slots=True)
class PairedFigures:
    """The samples of the same number of `ours` and `theirs` are a pair."""

    revision: str
    commit: str
    ours: Figures
    theirs: Figures

    @property
    def has_faults(self) -> bool:
        """Whether a request failed or an invariant is broken, on either side."""
        return self.ours.has_faults or self.theirs.has_faults

    @property
    def sides(self) -> Mapping[str, Figures]:
        """By their names in tables."""
        return {OURS: self.ours, self.revision: self.theirs}


def in_turn(sides: Sequence[SideT], number: int) -> Sequence[SideT]:
    """The sides in the order of a round, counted from 0. Every second round has the opposite
    order: a machine that gets slower and slower favours whoever is always first."""
    return sides[::-1] if number % 2 else sides


class PlannedRun(Protocol):
    """What is needed of `proof.bench.run.Run`."""

    plan: Plan

    def tables(self) -> AbstractContextManager[None]: ...
    def note_speed(self) -> None: ...
    def title(self, kind: str, count: int) -> str: ...
    def take(self, kind: str, count: int) -> None: ...


class Alternation:
    """Carries out a plan on two meshes. Each round has a pair for each point."""

    def __init__(self, ours: PlannedRun, theirs: PlannedRun, revision: str) -> None:
        """Both have the same plan. `revision` is the name of theirs."""
        self._ours, self._theirs = ours, theirs
        self._revision = revision

    def samples(self) -> Iterator[str]:
        """Takes one sample after the other; reports each before it starts."""
        with ExitStack() as stack:
            for run in (self._ours, self._theirs):
                stack.enter_context(run.tables())
            plan = self._ours.plan
            sides = [(OURS, self._ours), (self._revision, self._theirs)]
            for number in range(plan.round_count):
                for run in (self._ours, self._theirs):
                    run.note_speed()
                for kind, count in plan.points:
                    for whose, run in in_turn(sides, number):
                        title = self._ours.title(kind, count)
                        yield f"round {number + 1} of {plan.round_count}, {whose}: {title}"
                        run.take(kind, count)
