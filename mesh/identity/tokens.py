"""Tokens of players and services: EdDSA-signed JWTs (RFC 8037, RFC 7519), and their signing.

A token names its key by id (`kid`) and the player or service by subject (`sub`). Its audience
(`aud`) says where it is valid: a player's token at every service, a service's token at one service
alone. `mesh.identity.auth` verifies tokens.
"""

import time
from collections.abc import Callable
from typing import Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.identity.keys import key_id

ALGORITHM = "EdDSA"
ISSUER = "gacha-mesh"
PLAYER_AUDIENCE = "gacha-mesh/player"
SERVICE_AUDIENCE_PREFIX = "gacha-mesh/service/"
SERVICE_TOKEN_SECONDS = 60
PLAYER_TOKEN_SECONDS = 15 * 60
"""How long an access token of a player is valid."""


def service_audience(callee: str) -> str:
    """The audience of a token that a service shows to the service `callee`."""
    return SERVICE_AUDIENCE_PREFIX + callee


class Signer(Protocol):
    """Signs tokens, with one key or with several in rotation."""

    @property
    def lifetime_seconds(self) -> int:
        """How long a token is valid."""
        ...

    def sign(self, subject: str, **more_claims: str) -> str:
        """A token for `subject` with further claims, valid from now on."""
        ...


class TokenSigner:
    """Signs tokens of one audience with one key."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        audience: str,
        lifetime_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._audience = audience
        self.lifetime_seconds = lifetime_seconds
        self._clock = clock
        self.public_key = key.public_key()
        self.key_id = key_id(self.public_key)

    def sign(self, subject: str, **more_claims: str) -> str:
        """A token for `subject` with further claims, valid from now on."""
        now = int(self._clock())
        claims = {
            "iss": ISSUER,
            "aud": self._audience,
            "sub": subject,
            "iat": now,
            "exp": now + self.lifetime_seconds,
            **more_claims,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self.key_id})
