"""Calls to the account service: its participant."""

from collections.abc import Callable

from google.protobuf.any_pb2 import Any as AnyMessage

from gacha_svc.domain.pulls import Debit
from mesh.calls import Caller, Metadata
from mesh.txn.clients import RemoteParticipant
from protos.account.v1 import account_pb2


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
