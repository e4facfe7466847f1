"""The gRPC methods of the protocol's two services, over a participant and a decision log."""

from collections.abc import Callable, Iterable
from typing import Generic

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from mesh.errors import InvalidArgument
from mesh.serving.dispatch import Call
from mesh.txn.decisions import DecisionLog
from mesh.txn.model import MAX_LISTED, Body, Operation, Outcome, Result, Vote, Yes, gid_age_seconds
from mesh.txn.participant import Participant
from protos.tx.v1 import coordinator_pb2, participant_pb2

MAX_ASKED = 2 * MAX_LISTED
"""Enough for all branches that the two participants list."""

MAX_AGE_SECONDS = 10 * 365 * 86_400

OUTCOMES = {
    Outcome.COMMIT: coordinator_pb2.OUTCOME_COMMIT,
    Outcome.ABORT: coordinator_pb2.OUTCOME_ABORT,
}


class ParticipantRpc(Generic[Body, Result]):
    """tx.v1.ParticipantService over one participant."""

    def __init__(
        self,
        participant: Participant[Body, Result],
        decode: Callable[[AnyMessage], Body],
        encode: Callable[[Result], Message],
    ) -> None:
        """`decode` converts an operation's body from a proto and raises InvalidArgument for an
        unknown type. `encode` converts the result of a YES to a proto."""
        self._participant = participant
        self._decode = decode
        self._encode = encode

    async def prepare(
        self, request: participant_pb2.PrepareRequest, call: Call
    ) -> participant_pb2.PrepareResponse:
        expires_at_seconds = _seconds("expires_at", request.expires_at.ToMicroseconds)
        operations = self._operations(request.operations)
        votes = await self._participant.prepare(
            request.gid, expires_at_seconds, operations, _first_operations(request)
        )
        return participant_pb2.PrepareResponse(
            votes=[
                self._vote(operation.id, vote)
                for operation, vote in zip(operations, votes, strict=True)
            ]
        )

    async def commit(
        self, request: participant_pb2.CommitRequest, call: Call
    ) -> participant_pb2.CommitResponse:
        await self._participant.commit(_gid_of(request.gid))
        return participant_pb2.CommitResponse()

    async def abort(
        self, request: participant_pb2.AbortRequest, call: Call
    ) -> participant_pb2.AbortResponse:
        await self._participant.abort(_gid_of(request.gid))
        return participant_pb2.AbortResponse()

    async def redo(
        self, request: participant_pb2.RedoRequest, call: Call
    ) -> participant_pb2.RedoResponse:
        operations = self._operations(request.operations.operations)
        await self._participant.redo(_gid_of(request.gid), operations)
        return participant_pb2.RedoResponse()

    async def list_branches(
        self, request: participant_pb2.ListBranchesRequest, call: Call
    ) -> participant_pb2.ListBranchesResponse:
        min_age_seconds = _seconds("min_age", request.min_age.ToMicroseconds)
        if not 0 <= min_age_seconds <= MAX_AGE_SECONDS:
            raise InvalidArgument.of_field("min_age", f"must be 0 to {MAX_AGE_SECONDS} seconds")
        response = participant_pb2.ListBranchesResponse()
        for branch in await self._participant.branches(min_age_seconds):
            response.branches.add(gid=branch.gid).prepared_at.FromDatetime(branch.prepared_at)
        return response

    def _operations(self, written: Iterable[participant_pb2.Operation]) -> list[Operation[Body]]:
        return [Operation(item.id, self._body(item.body)) for item in written]

    def _body(self, message: AnyMessage) -> Body:
        try:
            return self._decode(message)
        except DecodeError as error:
            raise InvalidArgument.of_field("operations", "hold a malformed body") from error

    def _vote(self, operation_id: str, vote: Vote[Result]) -> participant_pb2.Vote:
        written = participant_pb2.Vote(operation_id=operation_id)
        if isinstance(vote, Yes):
            written.result.Pack(self._encode(vote.result))
        else:
            written.refusal.reason = vote.reason
            written.refusal.message = vote.message
            written.refusal.metadata.update(vote.metadata)
        return written


class CoordinatorRpc:
    """tx.v1.CoordinatorService over the decision log."""

    def __init__(self, decisions: DecisionLog) -> None:
        self._decisions = decisions

    async def resolve(
        self, request: coordinator_pb2.ResolveRequest, call: Call
    ) -> coordinator_pb2.ResolveResponse:
        outcome = await self._decisions.resolve(_gid_of(request.gid))
        return coordinator_pb2.ResolveResponse(outcome=OUTCOMES[outcome])

    async def get_operations(
        self, request: coordinator_pb2.GetOperationsRequest, call: Call
    ) -> coordinator_pb2.GetOperationsResponse:
        written = await self._decisions.operations(_gid_of(request.gid))
        if written is None:
            return coordinator_pb2.GetOperationsResponse()
        operations = participant_pb2.Operations.FromString(written)
        return coordinator_pb2.GetOperationsResponse(operations=operations)

    async def list_decisions(
        self, request: coordinator_pb2.ListDecisionsRequest, call: Call
    ) -> coordinator_pb2.ListDecisionsResponse:
        if len(request.gids) > MAX_ASKED:
            raise InvalidArgument.of_field("gids", f"must be at most {MAX_ASKED}")
        gids = [_gid_of(gid) for gid in request.gids]
        response = coordinator_pb2.ListDecisionsResponse()
        for decision in await self._decisions.list_decisions(gids):
            written = response.decisions.add(
                gid=decision.gid, outcome=OUTCOMES[decision.outcome], is_open=decision.is_open
            )
            written.decided_at.FromDatetime(decision.decided_at)
        return response


def _first_operations(request: participant_pb2.PrepareRequest) -> bytes | None:
    """What the second participant keeps for a redo. Raises InvalidArgument unless it is for the
    same operations."""
    if not request.HasField("first_operations"):
        return None
    ids = [operation.id for operation in request.operations]
    if [operation.id for operation in request.first_operations.operations] != ids:
        raise InvalidArgument.of_field("first_operations", "must have the ids of the operations")
    return request.first_operations.SerializeToString()


def _seconds(field: str, microseconds: Callable[[], int]) -> float:
    """A google.protobuf.Timestamp or Duration in seconds. Raises InvalidArgument if invalid."""
    try:
        return microseconds() / 1e6
    except ValueError as error:
        raise InvalidArgument.of_field(field, "is out of the range of its type") from error


def _gid_of(gid: str) -> str:
    """The gid. Raises InvalidArgument if it is malformed."""
    gid_age_seconds(gid, 0.0)
    return gid
