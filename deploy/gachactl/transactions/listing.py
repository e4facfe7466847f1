"""Which transactions are under way, and how far each has come. Listing changes nothing.

The branches are read before the decisions. So where no decision is shown, none stood when the
branch was seen; a transaction that ended in between is left out, by its decision.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from deploy.gachactl.transactions.sides import Side, Sides
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.txn.decisions import Decision
from mesh.txn.model import RECOVERY_AGE_SECONDS, Outcome, is_gid
from mesh.txn.participant import MAX_LISTED, Branch

ASK_SECONDS = 5.0
OVERDUE_SECONDS = 10.0
"""How long recovery may take with a decision, on a mesh that is well."""


class State(StrEnum):
    """How far a transaction has come."""

    IN_FLIGHT = "in flight"
    IN_DOUBT = "in doubt"
    COMMITTING = "committing"
    ABORTING = "aborting"
    OVERDUE = "overdue"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction that is under way.

    `prepared` has an answer for each side, in order: None when that side does not
    answer. `age_seconds` counts from its first branch that is prepared, or else from
    its decision. `decision` is None when none stands, or when the log does not answer.
    """

    gid: str
    age_seconds: float
    prepared: tuple[bool | None, bool | None]
    decision: Decision | None
    state: State

    @property
    def coordinator(self) -> str:
        """The instance that runs it, by its gid."""
        return self.gid.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Listing:
    """`failures` has the errors of services that did not answer; `is_cut`: there are more."""

    transactions: tuple[Transaction, ...]
    failures: Mapping[str, MeshError]
    is_cut: bool

    def find(self, gid: str) -> Transaction | None:
        return next((each for each in self.transactions if each.gid == gid), None)


@dataclass(frozen=True, slots=True)
class Seen:
    """The answers; None stands for no answer."""

    branches: tuple[Sequence[Branch] | None, Sequence[Branch] | None]
    decisions: Sequence[Decision] | None


async def look(sides: Sides, now: datetime) -> Listing:
    """Asks both participants and then the decision log; a failure is noted, not raised."""
    failures: dict[str, MeshError] = {}

    async def ask(side: Side) -> Sequence[Branch] | None:
        try:
            return await side.branches.branches(Deadline.after(ASK_SECONDS))
        except MeshError as error:
            failures[side.service] = error
            return None

    first, second = await asyncio.gather(*(ask(side) for side in sides.both))
    listed = [*(first or ()), *(second or ())]
    decisions: Sequence[Decision] | None = None
    try:
        # What somebody prepared by hand has no gid of ours, and so no decision.
        gids = {branch.gid for branch in listed if is_gid(branch.gid)}
        decisions = await sides.coordinator.decisions(gids)
    except MeshError as error:
        failures["decision log"] = error
    is_cut = any(len(each or ()) >= MAX_LISTED for each in (first, second, decisions))
    return Listing(tuple(transactions(Seen((first, second), decisions), now)), failures, is_cut)


def transactions(seen: Seen, now: datetime) -> list[Transaction]:
    """What is under way by what was seen, oldest first."""
    sides = [
        None if side is None else {branch.gid: branch.prepared_at for branch in side}
        for side in seen.branches
    ]
    decided = {decision.gid: decision for decision in seen.decisions or ()}
    gids = {gid for side in sides for gid in side or ()} | decided.keys()
    found: list[Transaction] = []
    for gid in gids:
        decision = decided.get(gid)
        if decision is not None and decision.done_at is not None:
            continue
        times = [side[gid] for side in sides if side is not None and gid in side]
        if not times and decision is not None:
            times = [decision.decided_at]
        first, second = (None if side is None else gid in side for side in sides)
        age_seconds = max(0.0, (now - min(times)).total_seconds())
        state = State.UNKNOWN if seen.decisions is None else _state(decision, age_seconds)
        found.append(Transaction(gid, age_seconds, (first, second), decision, state))
    return sorted(found, key=lambda each: (-each.age_seconds, each.gid))


def _state(decision: Decision | None, age_seconds: float) -> State:
    if decision is None:
        return State.IN_FLIGHT if age_seconds < RECOVERY_AGE_SECONDS else State.IN_DOUBT
    if decision.outcome is Outcome.ABORT:
        return State.ABORTING
    return State.COMMITTING if age_seconds < OVERDUE_SECONDS else State.OVERDUE
