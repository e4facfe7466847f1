"""The key set of players' tokens, as the contract account.v1 publishes it."""

from base64 import urlsafe_b64decode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mesh.calls import Caller
from mesh.deadlines import Deadline
from protos.account.v1 import account_pb2

KEY_SET_SECONDS = 3.0
MAX_KEYS = 100
_GET_KEY_SET = "/account.v1.AccountService/GetKeySet"


class PlayerKeySet:
    """The published keys that sign players' tokens."""

    def __init__(self, caller: Caller) -> None:
        """`caller` calls the publishing service."""
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
