"""Settles one transaction by the protocol, as recovery does.

Guarantees:
- The decision log determines the outcome. If it has no decision, an abort is forced. An
  operator cannot choose the outcome.
- A commit goes to the first participant, and to the second only after the first has
  confirmed; a first branch that is lost is redone from the decision (mesh/txn/redo.py).
  An abort goes to both, even if one of them does not answer.
- It is idempotent: it may be interrupted, repeated, and run concurrently with recovery and
  with the live coordinator.
"""

from dataclasses import dataclass

from deploy.gachactl.transactions.sides import Side, Sides
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.txn.model import Outcome
from mesh.txn.redo import commit_or_redo

STEP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """The call to one participant, and the error that it returned, if any.

    `was_lost` says that its branch was lost and has been redone.
    """

    service: str
    error: MeshError | None
    was_lost: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """The outcome, and the steps that were taken, in order."""

    outcome: Outcome
    steps: tuple[Step, ...]

    @property
    def is_complete(self) -> bool:
        """Whether both participants have confirmed."""
        return len(self.steps) == 2 and all(step.error is None for step in self.steps)


async def resolve(sides: Sides, gid: str) -> Resolution:
    """Forces an abort unless a decision exists, and carries the outcome out. Idempotent.

    Raises MeshError when the decision log does not answer. No participant was called then,
    but the abort may have been recorded.
    """
    outcome = await sides.coordinator.resolve(gid)
    steps: list[Step] = []
    for side in sides.both:
        steps.append(await _settle(sides, side, gid, outcome))
        if outcome is Outcome.COMMIT and steps[-1].error is not None:
            break
    return Resolution(outcome, tuple(steps))


async def _settle(sides: Sides, side: Side, gid: str, outcome: Outcome) -> Step:
    deadline = Deadline.after(STEP_SECONDS)
    was_lost = False
    try:
        if outcome is Outcome.ABORT:
            await side.branches.abort(gid, deadline)
        elif side is sides.first:
            was_lost = await commit_or_redo(side.branches, sides.coordinator, gid, deadline)
        else:
            await side.branches.commit(gid, deadline)
    except MeshError as error:
        return Step(side.service, error)
    return Step(side.service, None, was_lost)
