"""Refresh tokens: how they are written, and how one follows from another. Pure.

    gmr_ + base64url(session id 16 bytes | generation 4 bytes | secret 32 bytes)

Each successor's secret is computed from its predecessor's and from the session's salt
(HMAC-SHA256, RFC 2104), so a repeated rotation gives the same token again although nothing
that could be used is stored: of the current secret there is a hash, and neither a hash nor
the salt leads to a secret. To check that an older token is genuine, it is followed forward to
the current one.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from uuid import UUID

PREFIX = "gmr_"
"""Also what scanners for leaked secrets may look for."""
SECRET_BYTES = 32
MAX_GENERATION = 10_000
"""How often a session may be refreshed: what following a token forward costs at most."""

_ID_BYTES, _GENERATION_BYTES = 16, 4
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{69}}[AQgw]")


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """One token of a session. `session_id` is a UUID in its canonical form."""

    session_id: str
    generation: int
    secret: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """As its client holds it: 74 characters."""
        octets = (
            UUID(self.session_id).bytes
            + self.generation.to_bytes(_GENERATION_BYTES, "big")
            + self.secret
        )
        return PREFIX + urlsafe_b64encode(octets).rstrip(b"=").decode()

    @property
    def secret_hash(self) -> bytes:
        """What is stored of it. A fast hash will do, for the secret cannot be guessed."""
        return hashlib.sha256(self.secret).digest()

    def successor(self, salt: bytes) -> "RefreshToken":
        """The one token that follows this one in a session with that salt."""
        return self.forward(salt, self.generation + 1)

    def forward(self, salt: bytes, generation: int) -> "RefreshToken":
        """What this token has become at `generation`, which is not below its own."""
        assert self.generation <= generation <= MAX_GENERATION, "the caller has compared them"
        secret = self.secret
        for following in range(self.generation + 1, generation + 1):
            message = salt + following.to_bytes(_GENERATION_BYTES, "big")
            secret = hmac.digest(secret, message, "sha256")
        return RefreshToken(self.session_id, generation, secret)


def parse(text: str) -> RefreshToken | None:
    """The token that was written so; None for what no token looks like. Each token has one
    spelling."""
    if not _TOKEN.fullmatch(text):
        return None
    octets = urlsafe_b64decode(text.removeprefix(PREFIX) + "==")
    secret_at = _ID_BYTES + _GENERATION_BYTES
    return RefreshToken(
        str(UUID(bytes=octets[:_ID_BYTES])),
        int.from_bytes(octets[_ID_BYTES:secret_at], "big"),
        octets[secret_at:],
    )
