"""What the gacha service asks of the account service: its participant, and the players' keys."""

import time
from base64 import urlsafe_b64decode
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.any_pb2 import Any as AnyMessage

from gacha_svc.domain.pulls import Debit
from mesh.calls import Caller, Metadata
from mesh.deadlines import Deadline
from mesh.txn.clients import RemoteParticipant
from protos.account.v1 import account_pb2

KEY_SET_SECONDS = 3.0
KEY_SET_PAUSE_SECONDS = 5.0
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


class PlayerKeys:
    """The keys that player tokens are signed with, as the account service publishes them.

    Asked for when a token names a key that is not known, once in
    KEY_SET_PAUSE_SECONDS at most, so that made-up key ids cost nothing.
    """

    def __init__(self, caller: Caller, clock: Callable[[], float] = time.monotonic) -> None:
        self._caller = caller
        self._clock = clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._ask_again_at = 0.0

    async def find(self, kid: str) -> Ed25519PublicKey | None:
        """The key of that id. Raises MeshError when it is not known and nobody can be asked."""
        if kid not in self._keys and (not self._keys or self._clock() >= self._ask_again_at):
            await self._ask()
        return self._keys.get(kid)

    async def _ask(self) -> None:
        answer = await self._caller.call(_GET_KEY_SET, b"", {}, Deadline.after(KEY_SET_SECONDS))
        self._ask_again_at = self._clock() + KEY_SET_PAUSE_SECONDS
        self._keys = {
            key.kid: Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(key.x + "=="))
            for key in account_pb2.GetKeySetResponse.FromString(answer).keys
            if (key.kty, key.crv) == ("OKP", "Ed25519")
        }
