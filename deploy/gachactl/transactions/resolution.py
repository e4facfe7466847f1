"""Settles one transaction by the protocol, as recovery does.

Guarantees:
- An operator cannot choose the outcome: Resolve aborts, unless the second branch is committed,
  which is the decision. With that the second side has ended, for good.
- Only then the first side is committed or aborted. If its branch was lost after the decision, it
  is redone (mesh/txn/redo.py).
- It is idempotent: it may be interrupted, repeated, and run concurrently with recovery and
  with the live coordinator.
"""

from dataclasses import dataclass

from deploy.gachactl.transactions.sides import Sides
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.txn.model import Outcome
from mesh.txn.redo import commit_or_redo

FOLLOW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """How one participant was ended, or the error that it returned.

    `was_lost` says that its branch was lost and has been redone.
    """

    service: str
    error: MeshError | None = None
    was_lost: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """The outcome, and the steps that were taken: the second side's, then the first side's."""

    outcome: Outcome
    steps: tuple[Step, Step]

    @property
    def is_complete(self) -> bool:
        """Whether both participants have confirmed."""
        return all(step.error is None for step in self.steps)


async def resolve(sides: Sides, gid: str) -> Resolution:
    """Aborts unless the decision is to commit, and ends both sides alike. Idempotent.

    Raises MeshError when Resolve fails. The first participant was not called then, but the
    second branch may have been aborted.
    """
    outcome = await sides.coordinator.resolve(gid)
    return Resolution(outcome, (Step(sides.second.service), await _follow(sides, gid, outcome)))


async def _follow(sides: Sides, gid: str, outcome: Outcome) -> Step:
    first, deadline = sides.first, Deadline.after(FOLLOW_SECONDS)
    was_lost = False
    try:
        if outcome is Outcome.ABORT:
            await first.branches.abort(gid, deadline)
        else:
            was_lost = await commit_or_redo(first.branches, sides.coordinator, gid, deadline)
    except MeshError as error:
        return Step(first.service, error)
    return Step(first.service, was_lost=was_lost)
