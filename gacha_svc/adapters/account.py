"""Calls to the account service: its participant, and what verifies players' tokens."""

from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.any_pb2 import Any as AnyMessage

from gacha_svc.domain.pulls import Debit
from mesh.calls import Caller, Metadata
from mesh.deadlines import Deadline
from mesh.identity.ended_sessions import EndedList
from mesh.txn.clients import RemoteParticipant
from protos.account.v1 import account_pb2, ended_sessions_pb2

KEY_SET_SECONDS = 3.0
MAX_KEYS = 100
_LIST_ENDED_SESSIONS = "/account.v1.EndedSessionService/ListEndedSessions"
_GET_KEY_SET = "/account.v1.AccountService/GetKeySet"


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
        KEY_SET_SECONDS, and ValueError when the answer holds what is no session's id."""
        request = ended_sessions_pb2.ListEndedSessionsRequest()
        if since is not None:
            request.since.FromDatetime(since)
        answer = ended_sessions_pb2.ListEndedSessionsResponse.FromString(
            await self._caller.call(
                _LIST_ENDED_SESSIONS,
                request.SerializeToString(),
                self._metadata(),
                Deadline.after(KEY_SET_SECONDS),
            )
        )
        session_ids = [str(UUID(bytes=session_id)) for session_id in answer.session_ids]
        return EndedList(session_ids, answer.as_of.ToDatetime(UTC))


class PlayerKeySet:
    """The published keys of the account service, which sign player tokens."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def fetch(self) -> dict[str, Ed25519PublicKey]:
        """The keys by their ids; a `mesh.identity.published_keys.Fetch`.

        Raises MeshError without an answer in KEY_SET_SECONDS, and ValueError when the answer is
        not a key set.
        """
        answer = await self._caller.call(_GET_KEY_SET, b"", {}, Deadline.after(KEY_SET_SECONDS))
        keys = account_pb2.GetKeySetResponse.FromString(answer).keys
        return {
            key.kid: Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key.x + "=="))
            for key in keys[:MAX_KEYS]
            if (key.kty, key.crv) == ("OKP", "Ed25519")
        }
