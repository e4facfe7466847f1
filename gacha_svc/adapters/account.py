"""Calls to the account service: its participant, and its list of ended sessions."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.any_pb2 import Any as AnyMessage

from gacha_svc.domain.pulls import Debit
from mesh.calls import Caller, Metadata
from mesh.deadlines import Deadline
from mesh.identity.ended_sessions import EndedList
from mesh.txn.clients import RemoteParticipant
from protos.account.v1 import account_pb2, ended_sessions_pb2

LIST_SECONDS = 3.0
_LIST_ENDED_SESSIONS = "/account.v1.EndedSessionService/ListEndedSessions"


def account_participant(caller: Caller, metadata: Callable[[], Metadata]) -> RemoteParticipant:
    """The participant that takes gems."""

    def encode(body: object) -> account_pb2.Debit:
        assert isinstance(body, Debit)
        return account_pb2.Debit(user_id=body.user_id, amount=body.amount_gems)

    def decode(result: AnyMessage) -> int:
        written = account_pb2.DebitResult()
        result.Unpack(written)
        return written.balance_after

    return RemoteParticipant(caller, metadata, encode, decode)


class EndedSessionCalls:
    """The list of ended sessions of the account service."""

    def __init__(self, caller: Caller, metadata: Callable[[], Metadata]) -> None:
        self._caller = caller
        self._metadata = metadata

    async def fetch(self, since: datetime | None) -> EndedList:
        """A `mesh.identity.ended_sessions.Fetch`. Raises MeshError without an answer in
        LIST_SECONDS, and ValueError when the answer holds what is no session's id."""
        request = ended_sessions_pb2.ListEndedSessionsRequest()
        if since is not None:
            request.since.FromDatetime(since)
        answer = ended_sessions_pb2.ListEndedSessionsResponse.FromString(
            await self._caller.call(
                _LIST_ENDED_SESSIONS,
                request.SerializeToString(),
                self._metadata(),
                Deadline.after(LIST_SECONDS),
            )
        )
        session_ids = [str(UUID(bytes=session_id)) for session_id in answer.session_ids]
        return EndedList(session_ids, answer.as_of.ToDatetime(UTC))
