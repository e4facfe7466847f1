"""Invalid tokens, most of them signed with the mesh's real keys."""

import math
import time
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.identity.keys import key_id, load_private_key, public_octets
from mesh.identity.service_identity import ServiceIdentity
from mesh.identity.tokens import service_audience
from proof.stack import Mesh


def key_of(mesh: Mesh, name: str) -> Ed25519PrivateKey:
    """The key of a service, or of the operators (`admin`)."""
    return load_private_key(mesh.layout.service_key(name).read_bytes())


def token_of(mesh: Mesh, name: str, callee: str) -> str:
    """A token of a service, or of an operator (`admin`), that is valid at the service `callee`."""
    return ServiceIdentity(key_of(mesh, name), name).towards(callee).token()


@dataclass(frozen=True, slots=True)
class Forge:
    """Forges tokens: it has the mesh's secret keys, and a player's valid claims."""

    player_key: Ed25519PrivateKey
    gacha_key: Ed25519PrivateKey
    claims: dict[str, Any]

    @classmethod
    def of(cls, mesh: Mesh, good_token: str) -> "Forge":
        return cls(
            mesh.player_key(),
            key_of(mesh, "gacha_svc"),
            jwt.decode(good_token, options={"verify_signature": False}),
        )

    def signed(self, key: Ed25519PrivateKey | None = None, kid: str = "", **claims: Any) -> str:
        """The valid token with these claims changed; claims that are None are removed."""
        changed = {**self.claims, **claims}
        kept = {name: value for name, value in changed.items() if value is not None}
        headers = {"kid": kid or key_id(self.player_key.public_key())}
        return jwt.encode(kept, key or self.player_key, algorithm="EdDSA", headers=headers)

    def expired(self) -> str:
        now = int(time.time())
        return self.signed(iat=now - 7200, exp=now - 3600)

    def unsigned(self) -> str:
        headers = {"kid": key_id(self.player_key.public_key())}
        return jwt.encode(self.claims, "", algorithm="none", headers=headers)

    def signed_with_the_public_key_as_a_secret(self) -> str:
        """Algorithm confusion: the public key, which everyone knows, is used as HMAC secret."""
        public = self.player_key.public_key()
        secret = public_octets(public)
        headers = {"kid": key_id(public)}
        return jwt.encode(self.claims, secret, algorithm="HS256", headers=headers)

    def of_a_service(self) -> str:
        """A service token for account_svc."""
        return ServiceIdentity(self.gacha_key, "gacha_svc").towards("account_svc").token()

    def of_a_service_signed_by_the_player_key(self) -> str:
        return self.signed(aud=service_audience("account_svc"))

    def invalid(self) -> dict[str, str]:
        """Every invalid token, by its defect."""
        good = self.signed()
        head, body, signature = good.split(".")
        stranger = Ed25519PrivateKey.generate()
        return {
            "signed by a foreign key under our key id": self.signed(stranger),
            "signed by a foreign key under its own key id": self.signed(
                stranger, kid=key_id(stranger.public_key())
            ),
            "signed by a service's key": self.signed(self.gacha_key),
            "alg none": self.unsigned(),
            "alg none with a signature": f"{self.unsigned()}{signature}",
            "HS256 with the public key": self.signed_with_the_public_key_as_a_secret(),
            "of another issuer": self.signed(iss="another"),
            "of another audience": self.signed(aud="another"),
            "without an audience": self.signed(aud=None),
            "without a subject": self.signed(sub=None),
            "of a subject that is not a player's id": self.signed(sub="another"),
            "without a session": self.signed(sid=None),
            "of a session that is no id": self.signed(sid="another"),
            "without an expiry": self.signed(exp=None),
            "with an expiry that is text": self.signed(exp="tomorrow"),
            "with an expiry that never comes": self.signed(exp=math.inf),
            "under an unknown key id": self.signed(kid="unknown"),
            "with its claims changed": f"{head}.{body[:-4]}AAAA.{signature}",
            "truncated": good[:-10],
            "of two parts": f"{head}.{body}",
            "no token at all": "token",
            "of dots": "..",
            "very long": "x" * 3000,
        }
