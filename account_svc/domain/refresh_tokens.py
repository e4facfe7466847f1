"""Refresh tokens: their format, and how each token's successor is computed. Pure.

    gmr_ + base64url(session id 16 bytes | generation 4 bytes | secret 32 bytes)

The successor's secret is computed from the predecessor's secret and the session's salt
(HMAC-SHA256, RFC 2104). So a repeated rotation returns the same token again, although no secret
is stored: the database has only the salt and a hash of the current secret, and no secret can be
computed from them. An older token is genuine if computing its successors leads to the current
token.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from uuid import UUID

PREFIX = "gmr_"
"""Scanners for leaked secrets can search for this prefix."""
SECRET_BYTES = 32
MAX_GENERATION = 10_000
"""How often a session may be refreshed. It bounds the work of following a token forward."""

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
        """The client's form of the token: 74 characters."""
        octets = (
            UUID(self.session_id).bytes
            + self.generation.to_bytes(_GENERATION_BYTES, "big")
            + self.secret
        )
        return PREFIX + urlsafe_b64encode(octets).rstrip(b"=").decode()

    @property
    def secret_hash(self) -> bytes:
        """The stored hash. A fast hash is enough, because the secret cannot be guessed."""
        return hashlib.sha256(self.secret).digest()

    def successor(self, salt: bytes) -> "RefreshToken":
        """The next token after this one in a session with that salt."""
        return self.forward(salt, self.generation + 1)

    def forward(self, salt: bytes, generation: int) -> "RefreshToken":
        """The token at `generation`, which must not be below this token's."""
        assert self.generation <= generation <= MAX_GENERATION, "the caller has compared them"
        secret = self.secret
        for following in range(self.generation + 1, generation + 1):
            message = salt + following.to_bytes(_GENERATION_BYTES, "big")
            secret = hmac.digest(secret, message, "sha256")
        return RefreshToken(self.session_id, generation, secret)


def parse(text: str) -> RefreshToken | None:
    """The token with this text; None for a text without a token's format. Each token has
    exactly one text."""
    if not _TOKEN.fullmatch(text):
        return None
    octets = urlsafe_b64decode(text.removeprefix(PREFIX) + "==")
    secret_at = _ID_BYTES + _GENERATION_BYTES
    return RefreshToken(
        str(UUID(bytes=octets[:_ID_BYTES])),
        int.from_bytes(octets[_ID_BYTES:secret_at], "big"),
        octets[secret_at:],
    )
