"""What the participant that takes gems is asked."""

import time

from gacha_svc.adapters.account import account_participant
from gacha_svc.domain.pulls import Debit
from mesh.calls import Metadata
from mesh.deadlines import Deadline
from mesh.txn.model import Operation, Yes
from protos.account.v1 import account_pb2
from protos.tx.v1 import participant_pb2

SECONDS = 7.0
USER_ID = "7d444840-9dc0-41d1-b245-5ffdce74fad2"


class RichAccount:
    """A `mesh.calls.Caller`: an account_svc where every player has 1,000 gems."""

    def __init__(self) -> None:
        self.requests: list[participant_pb2.PrepareRequest] = []

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        assert method == "/tx.v1.ParticipantService/Prepare"
        prepare = participant_pb2.PrepareRequest.FromString(request)
        self.requests.append(prepare)
        response = participant_pb2.PrepareResponse()
        for operation in prepare.operations:
            debit = account_pb2.Debit()
            assert operation.body.Unpack(debit)
            result = account_pb2.DebitResult(balance_after=1000 - debit.amount)
            response.votes.add(operation_id=operation.id).result.Pack(result)
        return response.SerializeToString()


async def test_a_branch_expires_when_its_coordinator_gives_up() -> None:
    account = RichAccount()
    participant = account_participant(account, lambda: {})
    before = time.time()
    votes = await participant.prepare(
        "gid", [Operation("id", Debit(USER_ID, 160))], Deadline.after(SECONDS)
    )
    lasted_seconds = time.time() - before
    (request,) = account.requests
    left_seconds = request.expires_at.ToNanoseconds() / 1e9 - before
    assert SECONDS - lasted_seconds - 0.001 <= left_seconds <= SECONDS + lasted_seconds
    assert request.gid == "gid"
    assert list(votes) == [Yes(840)]
