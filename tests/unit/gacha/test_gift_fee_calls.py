"""The calls of gifts to the account service, over a service that the test controls."""

import asyncio
from typing import cast
from uuid import uuid4

import pytest

from account_svc.domain.gift_fees import GiftFeeRefunded, InsufficientCurrency
from gacha_svc.adapters.gift_fees import RemoteGiftFees
from gacha_svc.domain.gifts import FeeRefused, Gift, Player
from mesh.calls import Caller, Metadata
from mesh.deadlines import Deadline
from mesh.errors import MeshError, Unavailable
from protos.account.v1 import gift_fees_pb2 as pb

NAMES = {str(uuid4()): f"Player{number}" for number in range(8)}


class Account:
    """Takes every fee that `charged_alone` does not name. Such a fee is taken or refused when it is
    charged alone."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.charged_alone: dict[str, MeshError | None] = {}

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        name = method.rpartition("/")[2]
        self.methods.append(name)
        await asyncio.sleep(0)
        if name == "FindPlayers":
            wanted = pb.FindPlayersRequest.FromString(request)
            found = [
                pb.PlayerName(user_id=user_id, username=username)
                for user_id, username in NAMES.items()
                if user_id in wanted.user_ids or username.lower() in wanted.usernames
            ]
            return pb.FindPlayersResponse(players=found).SerializeToString()
        if name == "ChargeGiftFees":
            fees = pb.ChargeGiftFeesRequest.FromString(request).fees
            taken = [fee.fee_id not in self.charged_alone for fee in fees]
            return pb.ChargeGiftFeesResponse(taken=taken).SerializeToString()
        error = self.charged_alone[pb.ChargeGiftFeeRequest.FromString(request).fee_id]
        if error is not None:
            raise error
        return b""


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def fees(account: Account) -> RemoteGiftFees:
    return RemoteGiftFees(cast(Caller, account), dict)


def soon() -> Deadline:
    return Deadline.after(5.0)


def gift() -> Gift:
    sender, receiver = (Player(user_id, name) for user_id, name in list(NAMES.items())[:2])
    return Gift(str(uuid4()), str(uuid4()), sender, receiver, 1, 1, 10)


async def test_each_gift_finds_its_own_players_in_a_shared_call(
    account: Account, fees: RemoteGiftFees
) -> None:
    pairs = list(zip(NAMES, reversed(NAMES.values()), strict=True))
    found = await asyncio.gather(
        *(fees.find_players(to.upper(), sender_id, 10, soon()) for sender_id, to in pairs)
    )
    for (sender_id, to), parties in zip(pairs, found, strict=True):
        assert parties.sender == Player(sender_id, NAMES[sender_id])
        assert parties.receiver is not None
        assert parties.receiver.username == to
    assert len(account.methods) < len(pairs)
    nobody = await fees.find_players("nobody", str(uuid4()), 10, soon())
    assert (nobody.sender, nobody.receiver) == (None, None)


async def test_fees_share_calls_and_one_that_is_not_taken_is_charged_alone(
    account: Account, fees: RemoteGiftFees
) -> None:
    gifts = [gift() for _ in range(10)]
    busy, poor, late, away = gifts[2], gifts[4], gifts[6], gifts[8]
    account.charged_alone = {
        busy.gift_id: None,
        poor.gift_id: InsufficientCurrency(),
        late.gift_id: GiftFeeRefunded(),
        away.gift_id: Unavailable("away"),
    }
    results = await asyncio.gather(
        *(fees.charge(each, soon()) for each in gifts), return_exceptions=True
    )
    failed = {number: type(error) for number, error in enumerate(results) if error is not None}
    assert failed == {4: FeeRefused, 6: FeeRefused, 8: Unavailable}
    assert account.methods.count("ChargeGiftFee") == 4
    assert account.methods.count("ChargeGiftFees") <= 4
