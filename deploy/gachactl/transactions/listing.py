"""Lists the unfinished transactions and their states. Listing changes nothing.

The branches are read before the decisions. So a transaction that is shown without a decision
had none when its branch was read. One that was committed on both sides between the two reads is
left out.
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
from mesh.txn.model import MAX_LISTED, RECOVERY_AGE_SECONDS, Branch, Outcome, is_gid

ASK_SECONDS = 5.0
OVERDUE_SECONDS = 10.0
"""How long recovery may take to carry out a decision, on a healthy mesh."""


class State(StrEnum):
    """The state of an unfinished transaction."""

    IN_FLIGHT = "in flight"
    IN_DOUBT = "in doubt"
    COMMITTING = "committing"
    ABORTING = "aborting"
    OVERDUE = "overdue"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Transaction:
    """One unfinished transaction.

    `prepared` has one entry for each side, in order; None means that the side does not
    answer. `age_seconds` counts from its first prepared branch, or otherwise from the start of
    the branch that decided. `decision` is None if there is none, or if the decision log does not
    answer.
    """

    gid: str
    age_seconds: float
    prepared: tuple[bool | None, bool | None]
    decision: Decision | None
    state: State

    @property
    def coordinator(self) -> str:
        """The instance that runs it, read from the gid."""
        return self.gid.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Listing:
    """`failures` has the errors of services that did not answer; `is_cut`: it is incomplete."""

    transactions: tuple[Transaction, ...]
    failures: Mapping[str, MeshError]
    is_cut: bool

    def find(self, gid: str) -> Transaction | None:
        return next((each for each in self.transactions if each.gid == gid), None)


@dataclass(frozen=True, slots=True)
class Seen:
    """What each service answered; None for no answer."""

    branches: tuple[Sequence[Branch] | None, Sequence[Branch] | None]
    decisions: Sequence[Decision] | None


async def look(sides: Sides, now: datetime) -> Listing:
    """Asks both participants, then the decision log. Failures are returned, not raised."""
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
        # A transaction prepared by hand has no gid of ours, and so no decision.
        gids = {branch.gid for branch in listed if is_gid(branch.gid)}
        decisions = await sides.coordinator.decisions(gids)
    except MeshError as error:
        failures["decision log"] = error
    is_cut = any(len(each or ()) >= MAX_LISTED for each in (first, second, decisions))
    return Listing(tuple(transactions(Seen((first, second), decisions), now)), failures, is_cut)


def transactions(seen: Seen, now: datetime) -> list[Transaction]:
    """The unfinished transactions among the answers, oldest first."""
    sides = [
        None if side is None else {branch.gid: branch.prepared_at for branch in side}
        for side in seen.branches
    ]
    decided = {decision.gid: decision for decision in seen.decisions or ()}
    gids = {gid for side in sides for gid in side or ()} | decided.keys()
    found: list[Transaction] = []
    for gid in gids:
        decision = decided.get(gid)
        if decision is not None and decision.outcome is Outcome.COMMIT and not decision.is_open:
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
