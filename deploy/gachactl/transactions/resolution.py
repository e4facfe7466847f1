"""Settles one transaction by the protocol, as recovery does.

Guarantees:
- The outcome is what the decision log says; an abort is forced only where no decision
  stands. No operator can choose the outcome.
- A commit goes to the first participant, and to the second only after the first has
  confirmed; a first branch that is lost is redone from the decision (mesh/txn/redo.py).
  An abort goes to both, whether or not one of them answers.
- It may be interrupted anywhere, repeated, and race with recovery and with the live
  coordinator: all of it is idempotent.
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
    """The call of one participant, and the error with which it answered, if any.

    `was_lost` says that its branch was lost and has been redone.
    """

    service: str
    error: MeshError | None
    was_lost: bool = False


@dataclass(frozen=True, slots=True)
class Resolution:
    """The outcome that stands, and the steps that were taken, in their order."""

    outcome: Outcome
    steps: tuple[Step, ...]

    @property
    def is_complete(self) -> bool:
        """Whether both participants have confirmed."""
        return len(self.steps) == 2 and all(step.error is None for step in self.steps)


async def resolve(sides: Sides, gid: str) -> Resolution:
    """Forces an outcome unless one stands, and carries it out. Idempotent.

    Raises MeshError when the decision log does not answer: then nothing was done, but
    an abort may stand.
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
