"""Broken versions of the protocol; the machine must find each of them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.txn.coordinator import COMMIT_SECONDS, Coordinator
from mesh.txn.model import Outcome
from tests.unit.mesh.txn.machine import ProtocolMachine


class DecidesLast(Coordinator):
    """Sends its Commits first, and writes the decision after them."""

    async def _decide(self, gid: str, first_operations: bytes, deadline: Deadline) -> Outcome:
        await self._commit_both(gid)
        return await super()._decide(gid, first_operations, deadline)


class CommitsSecondFirst(Coordinator):
    """Commits in the wrong order."""

    async def _commit_both(self, gid: str) -> None:
        deadline = Deadline.after(COMMIT_SECONDS)
        with suppress(MeshError):
            await self._second.commit(gid, deadline)
            await self._first.commit(gid, deadline)


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
    Mutant("resolve without its row"),
    Mutant("no duplicate check"),
    Mutant("gid not consumed"),
    Mutant("tag unchecked"),
    Mutant("decision after commit", DecidesLast),
    Mutant("second committed first", CommitsSecondFirst),
    Mutant("commit at any age", dialogue="a_coordinator_that_slept_for_an_hour"),
    Mutant("open gids forgotten", dialogue="away_for_a_day"),
)
