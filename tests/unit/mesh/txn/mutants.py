"""Broken versions of the protocol; the machine must find each of them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.txn.coordinator import COMMIT_SECONDS, Coordinator
from mesh.txn.model import Outcome
from tests.unit.mesh.txn.machine import ProtocolMachine


class CommitsFirstFirst(Coordinator):
    """Commits the first branch before the decision."""

    async def _decide(self, gid: str, deadline: Deadline) -> Outcome:
        await self._commit_first(gid)
        return await super()._decide(gid, deadline)


class AbortsFirstFirst(Coordinator):
    """Aborts the first branch while the second may still be committed."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._branches.abort = self._abort_first  # type: ignore[method-assign]

    async def _abort_first(self, gid: str) -> None:
        await self._branches._abort(self._first, gid)
        await self._branches._abort(self._second, gid)


class TakesLossForCommit(Coordinator):
    """Takes a branch that it does not find for one that was committed."""

    async def _decide(self, gid: str, deadline: Deadline) -> Outcome:
        await super()._decide(gid, deadline)
        return Outcome.COMMIT


class GivesUpDecisions(Coordinator):
    """Aborts when it does not know whether its decision was made."""

    async def _decide(self, gid: str, deadline: Deadline) -> Outcome:
        try:
            await self._second.commit(gid, Deadline.after(COMMIT_SECONDS))
        except MeshError:
            with suppress(MeshError):
                await self._first.abort(gid, Deadline.after(COMMIT_SECONDS))
            return Outcome.ABORT
        return Outcome.COMMIT


@dataclass(frozen=True)
class Mutant:
    """A broken rule: in a side or the log, selected by name, or in a coordinator.

    A mutant that needs a rare order of events names the `dialogue` that exposes it.
    """

    name: str
    coordinator_class: type[Coordinator] = Coordinator
    dialogue: str = ""

    def machine(self) -> type[ProtocolMachine]:
        members = {"mutants": (self.name,), "coordinator_class": self.coordinator_class}
        return type("MutantMachine", (ProtocolMachine,), members)


MUTANTS: Sequence[Mutant] = (
    Mutant("abort by age alone"),
    Mutant("resolve ends no branch"),
    Mutant("no duplicate check"),
    Mutant("gid not consumed"),
    # A redo would make up for it.
    Mutant("tag unchecked and nothing kept"),
    Mutant("nothing kept", dialogue="a_lost_branch"),
    Mutant("lost debits refused", dialogue="a_lost_branch_that_cannot_be_paid"),
    Mutant("first committed first", CommitsFirstFirst),
    Mutant("first aborted first", AbortsFirstFirst, dialogue="late_copies_in_a_broken_abort"),
    Mutant("loss taken for commit", TakesLossForCommit),
    Mutant("decisions given up", GivesUpDecisions, dialogue="a_lost_reply_of_the_decision"),
    Mutant("open gids forgotten", dialogue="away_for_a_day"),
)
