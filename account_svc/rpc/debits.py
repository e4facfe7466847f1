"""The operation of tx.v1.ParticipantService here: account.v1.Debit and its result."""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from account_svc.domain.debits import Debit
from mesh.contract.identifiers import checked_uuid
from mesh.errors import InvalidArgument
from protos.account.v1 import account_pb2


def decode_debit(body: AnyMessage) -> Debit:
    """Reads the body of an operation to prepare. Raises InvalidArgument."""
    debit = account_pb2.Debit()
    if not body.Unpack(debit):
        raise InvalidArgument.of_field("operations", "must hold account.v1.Debit")
    if debit.amount < 1:
        raise InvalidArgument.of_field("amount", "must be at least 1")
    return Debit(checked_uuid("user_id", debit.user_id), debit.amount)


def encode_debit_result(balance_after_gems: int) -> Message:
    """The result in a YES vote."""
    return account_pb2.DebitResult(balance_after=balance_after_gems)
