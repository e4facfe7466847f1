"""Clients of the protocol's two services, ParticipantService and CoordinatorService."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC
from typing import TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from mesh.calls import Caller, Metadata
from mesh.deadlines import Deadline
from mesh.txn.decisions import Decision
from mesh.txn.model import Branch, No, Operation, Outcome, Vote, Yes
from mesh.txn.rpc import OUTCOMES
from protos.tx.v1 import coordinator_pb2, participant_pb2

RESOLVE_SECONDS = 3.0
_PARTICIPANT = "/tx.v1.ParticipantService"
_COORDINATOR = "/tx.v1.CoordinatorService"
Written = TypeVar("Written", participant_pb2.PrepareRequest, participant_pb2.Operations)
_OUTCOME_OF: Mapping[int, Outcome] = {number: outcome for outcome, number in OUTCOMES.items()}


class RemoteBranches:
    """Commits, aborts and lists the branches of one participant, on any of its instances."""

    def __init__(self, caller: Caller, metadata: Callable[[], Metadata]) -> None:
        """`metadata` returns the calls' metadata, with this process's token."""
        self._caller = caller
        self._metadata = metadata

    async def commit(self, gid: str, deadline: Deadline) -> None:
        """As `Participant.commit`."""
        await self._call("Commit", participant_pb2.CommitRequest(gid=gid), deadline)

    async def abort(self, gid: str, deadline: Deadline) -> None:
        """As `Participant.abort`."""
        await self._call("Abort", participant_pb2.AbortRequest(gid=gid), deadline)

    async def redo(self, gid: str, written: bytes, deadline: Deadline) -> None:
        """As `Participant.redo`, with the serialized operations of the decision."""
        operations = participant_pb2.Operations.FromString(written)
        request = participant_pb2.RedoRequest(gid=gid, operations=operations)
        await self._call("Redo", request, deadline)

    async def branches(self, deadline: Deadline) -> list[Branch]:
        """The prepared branches of any age, oldest first; at most MAX_LISTED."""
        answer = await self._call("ListBranches", participant_pb2.ListBranchesRequest(), deadline)
        return [
            Branch(branch.gid, branch.prepared_at.ToDatetime(UTC))
            for branch in participant_pb2.ListBranchesResponse.FromString(answer).branches
        ]

    async def _call(self, method: str, request: Message, deadline: Deadline) -> bytes:
        return await self._caller.call(
            f"{_PARTICIPANT}/{method}", request.SerializeToString(), self._metadata(), deadline
        )


class RemoteParticipant(RemoteBranches):
    """A `ParticipantClient` that calls any instance of a service."""

    def __init__(
        self,
        caller: Caller,
        metadata: Callable[[], Metadata],
        encode: Callable[[object], Message],
        decode: Callable[[AnyMessage], object],
    ) -> None:
        """`metadata` returns the calls' metadata, with this process's token. `encode` converts
        an operation's body to a proto, `decode` the result of a YES from one."""
        super().__init__(caller, metadata)
        self._encode = encode
        self._decode = decode

    async def prepare(
        self,
        gid: str,
        operations: Sequence[Operation[object]],
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        request = participant_pb2.PrepareRequest(gid=gid)
        request.expires_at.FromNanoseconds(time.time_ns() + int(deadline.remaining_seconds() * 1e9))
        self._write(operations, request)
        response = participant_pb2.PrepareResponse.FromString(
            await self._call("Prepare", request, deadline)
        )
        return [self._vote(vote) for vote in response.votes]

    def written(self, operations: Sequence[Operation[object]]) -> bytes:
        return self._write(operations, participant_pb2.Operations()).SerializeToString()

    def _write(self, operations: Sequence[Operation[object]], message: Written) -> Written:
        add = message.operations.add
        for operation in operations:
            add(id=operation.id).body.Pack(self._encode(operation.body))
        return message

    def _vote(self, vote: participant_pb2.Vote) -> Vote[object]:
        if vote.HasField("result"):
            return Yes(self._decode(vote.result))
        refusal = vote.refusal
        return No(refusal.reason, refusal.message, dict(refusal.metadata))


class RemoteCoordinator:
    """Reads and forces decisions, on any instance of the service with the decision log."""

    def __init__(self, caller: Caller, metadata: Callable[[], Metadata]) -> None:
        self._caller = caller
        self._metadata = metadata

    async def resolve(self, gid: str) -> Outcome:
        """Forces and returns the outcome. Idempotent. Raises MeshError if no instance answers."""
        answer = await self._call("Resolve", coordinator_pb2.ResolveRequest(gid=gid))
        return _OUTCOME_OF[coordinator_pb2.ResolveResponse.FromString(answer).outcome]

    async def operations(self, gid: str) -> bytes | None:
        """As `DecisionLog.operations`. Raises MeshError if no instance answers."""
        answer = await self._call("GetOperations", coordinator_pb2.GetOperationsRequest(gid=gid))
        response = coordinator_pb2.GetOperationsResponse.FromString(answer)
        return response.operations.SerializeToString() if response.HasField("operations") else None

    async def open_gids(self) -> list[str]:
        """As `DecisionLog.open_gids`. Raises MeshError if no instance answers."""
        return [decision.gid for decision in await self.decisions([])]

    async def decisions(self, gids: Collection[str]) -> list[Decision]:
        """As `DecisionLog.list_decisions`. Raises MeshError if no instance answers."""
        answer = await self._call("ListDecisions", coordinator_pb2.ListDecisionsRequest(gids=gids))
        return [
            Decision(
                decision.gid,
                _OUTCOME_OF[decision.outcome],
                decision.decided_at.ToDatetime(UTC),
                decision.is_open,
            )
            for decision in coordinator_pb2.ListDecisionsResponse.FromString(answer).decisions
        ]

    async def _call(self, method: str, request: Message) -> bytes:
        return await self._caller.call(
            f"{_COORDINATOR}/{method}",
            request.SerializeToString(),
            self._metadata(),
            Deadline.after(RESOLVE_SECONDS),
        )
