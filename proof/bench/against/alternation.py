"""The windows of two meshes in turn: the present code's and another revision's.

Both meshes are up all the time, and one is under load. So both are equally warm, and the windows
of a pair are seconds apart; starting one mesh after the other would put the time of a start
between them. The mesh that rests costs both sides the same few per cent of a core.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

from proof.bench.figures import Figures
from proof.bench.plan import Plan

OURS = "present code"


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
            for number in range(1, plan.round_count + 1):
                for run in (self._ours, self._theirs):
                    run.note_speed()
                for kind, count in plan.points:
                    for whose, run in self._order(number):
                        title = self._ours.title(kind, count)
                        yield f"round {number} of {plan.round_count}, {whose}: {title}"
                        run.take(kind, count)

    def _order(self, number: int) -> Sequence[tuple[str, PlannedRun]]:
        """The other first in every second round: a machine that gets slower and slower favours
        whoever is always first."""
        sides = [(OURS, self._ours), (self._revision, self._theirs)]
        return sides if number % 2 else sides[::-1]
