"""account.v1.SigningKeyService, and the keys in GetKeySet."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.domain.signing.signing_keys import ListedKey, State
from mesh.identity.keys import key_id, public_octets
from mesh.identity.tokens import ALGORITHM
from mesh.serving.dispatch import Call
from protos.account.v1 import account_pb2
from protos.account.v1 import signing_keys_pb2 as pb

STATES = {
    State.WAITING: pb.SIGNING_KEY_STATE_WAITING,
    State.SIGNING: pb.SIGNING_KEY_STATE_SIGNING,
    State.SUPERSEDED: pb.SIGNING_KEY_STATE_SUPERSEDED,
}


class SigningKeyRpc:
    """account.v1.SigningKeyService."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    async def list_signing_keys(
        self, request: pb.ListSigningKeysRequest, call: Call
    ) -> pb.ListSigningKeysResponse:
        listed = [_signing_key(key) for key in self._keys.listed()]
        return pb.ListSigningKeysResponse(keys=listed, faults=self._keys.faults)


def json_web_key(key: Ed25519PublicKey) -> account_pb2.JsonWebKey:
    """The key as a JSON Web Key (RFC 8037)."""
    return account_pb2.JsonWebKey(
        kty="OKP",
        crv="Ed25519",
        alg=ALGORITHM,
        use="sig",
        kid=key_id(key),
        x=public_octets(key),
    )


def _signing_key(key: ListedKey) -> pb.SigningKey:
    written = pb.SigningKey(kid=key.kid, file_name=key.file_name, state=STATES[key.state])
    written.ready_at.FromMilliseconds(round(key.ready_at * 1000))
    if key.removable_at is not None:
        written.removable_at.FromMilliseconds(round(key.removable_at * 1000))
    return written
