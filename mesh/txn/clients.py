"""The protocol's two services as their callers see them."""

from collections.abc import Callable, Mapping, Sequence

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from mesh.calls import Caller, Metadata
from mesh.deadlines import Deadline
from mesh.txn.rpc import OUTCOMES
from mesh.txn.words import No, Operation, Outcome, Vote, Yes
from protos.tx.v1 import coordinator_pb2, participant_pb2

RESOLVE_SECONDS = 3.0
_PARTICIPANT = "/tx.v1.ParticipantService"
_RESOLVE = "/tx.v1.CoordinatorService/Resolve"
_OUTCOME_OF: Mapping[int, Outcome] = {number: outcome for outcome, number in OUTCOMES.items()}


class RemoteParticipant:
    """A `ParticipantClient` that asks whichever instance of a service answers."""

    def __init__(
        self,
        caller: Caller,
        metadata: Callable[[], Metadata],
        encode: Callable[[object], Message],
        decode: Callable[[AnyMessage], object],
    ) -> None:
        """`metadata` shows who is calling; `encode` writes an operation's body and
        `decode` reads what a YES tells."""
        self._caller = caller
        self._metadata = metadata
        self._encode = encode
        self._decode = decode

    async def prepare(
        self,
        gid: str,
        coordinator: str,
        operations: Sequence[Operation[object]],
        deadline: Deadline,
    ) -> Sequence[Vote[object]]:
        request = participant_pb2.PrepareRequest(gid=gid, coordinator=coordinator)
        request.expires_at.GetCurrentTime()
        request.expires_at.FromNanoseconds(
            request.expires_at.ToNanoseconds() + int(deadline.remaining_seconds() * 1e9)
        )
        for operation in operations:
            request.operations.add(id=operation.id).body.Pack(self._encode(operation.body))
        response = participant_pb2.PrepareResponse.FromString(
            await self._call("Prepare", request, deadline)
        )
        return [self._vote(vote) for vote in response.votes]

    async def commit(self, gid: str, deadline: Deadline) -> None:
        await self._call("Commit", participant_pb2.CommitRequest(gid=gid), deadline)

    async def abort(self, gid: str, deadline: Deadline) -> None:
        await self._call("Abort", participant_pb2.AbortRequest(gid=gid), deadline)

    async def _call(self, method: str, request: Message, deadline: Deadline) -> bytes:
        return await self._caller.call(
            f"{_PARTICIPANT}/{method}", request.SerializeToString(), self._metadata(), deadline
        )

    def _vote(self, vote: participant_pb2.Vote) -> Vote[object]:
        if vote.HasField("result"):
            return Yes(self._decode(vote.result))
        refusal = vote.refusal
        return No(refusal.reason, refusal.message, dict(refusal.metadata))


class RemoteCoordinator:
    """Asks whichever instance hosts the decision log for the outcome of a gid."""

    def __init__(self, caller: Caller, metadata: Callable[[], Metadata]) -> None:
        self._caller = caller
        self._metadata = metadata

    async def resolve(self, gid: str) -> Outcome:
        """Forces and returns the outcome. Idempotent. Raises MeshError when nobody answers."""
        answer = await self._caller.call(
            _RESOLVE,
            coordinator_pb2.ResolveRequest(gid=gid).SerializeToString(),
            self._metadata(),
            Deadline.after(RESOLVE_SECONDS),
        )
        return _OUTCOME_OF[coordinator_pb2.ResolveResponse.FromString(answer).outcome]
