"""The two sides of a transaction, as its coordinator sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mesh.deadlines import Deadline
from mesh.txn.model import No, Operation, Vote


@dataclass(frozen=True, slots=True)
class OperationPair:
    """One operation on both databases: the first and the second participant's part, under one
    id. A batch has at most one operation of an `owner`."""

    id: str
    owner: str
    first: object
    second: object


@dataclass(frozen=True, slots=True)
class Committed:
    """Both parts took effect. `first` and `second` are the participants' results."""

    first: object
    second: object


Answer = Committed | No


class Ends(Protocol):
    """A local or remote participant: how a branch of it is ended."""

    async def commit(self, gid: str, deadline: Deadline) -> None:
        """As `Participant.commit`."""
        ...

    async def abort(self, gid: str, deadline: Deadline) -> None:
        """As `Participant.abort`."""
        ...


class FirstParticipantClient(Ends, Protocol):
    """The participant that prepares first and commits last. Bodies and results are its own
    types. A lost branch of it is redone."""

    async def prepare(
        self,
        gid: str,
        operations: Sequence[Operation[object]],
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        """As `Participant.prepare`; the branch expires with the deadline."""
        ...

    def written(self, operations: Sequence[Operation[object]]) -> bytes:
        """The operations, serialized for the second branch to keep."""
        ...

    async def redo(self, gid: str, written: bytes, deadline: Deadline) -> None:
        """As `Participant.redo`, with operations serialized by `written`."""
        ...


class DecidingParticipantClient(Ends, Protocol):
    """The second participant, in the coordinator's database: its commit is the decision."""

    async def prepare(
        self,
        gid: str,
        operations: Sequence[Operation[object]],
        first_operations: bytes,
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        """As `Participant.prepare`; the branch expires with the deadline."""
        ...
