"""Finds the rate limit key of a request, without a key to verify its token.

The gateway does not verify tokens, so a token can name any player: counting by the name would
let a stranger use up another player's quota. A token therefore counts by its own digest until
a service that verifies tokens has answered a request with it. After that it counts for its
player, together with the player's other verified tokens. A forged token uses up only its own
quota, and many forged tokens fall under the limit of their address.

Bounded: the least recently seen token is dropped, and counts by its digest again.
"""

from base64 import urlsafe_b64decode
from binascii import Error as NoBase64
from collections import OrderedDict
from hashlib import blake2b

import orjson

MAX_TOKENS = 65_536
DIGEST_BYTES = 16
LONGEST_SUBJECT = 128


class TokenKeys:
    """The rate limit key of each token. For one event loop."""

    def __init__(self, *, max_tokens: int = MAX_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._keys: OrderedDict[bytes, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def of(self, authorization: str) -> tuple[str, bool]:
        """The rate limit key of this Authorization header, and whether its token is known to
        be verified."""
        digest = _digest(authorization)
        key = self._keys.get(digest)
        if key is None:
            return f"token:{digest.hex()}", False
        self._keys.move_to_end(digest)
        return key, True

    def believe(self, authorization: str) -> None:
        """Records that a service verified the token and answered. Idempotent."""
        digest, subject = _digest(authorization), _subject(authorization)
        self._keys[digest] = f"token:{digest.hex()}" if subject is None else f"player:{subject}"
        if len(self._keys) > self._max_tokens:
            self._keys.popitem(last=False)


def _digest(authorization: str) -> bytes:
    return blake2b(authorization.encode(), digest_size=DIGEST_BYTES).digest()


def _subject(authorization: str) -> str | None:
    """The `sub` of a JWT's payload, unverified; None where there is none."""
    parts = authorization.rpartition(" ")[2].split(".")
    if len(parts) != 3:
        return None
    payload = parts[1]
    try:
        claims = orjson.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (NoBase64, ValueError):
        return None
    subject = claims.get("sub") if isinstance(claims, dict) else None
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        return None
    return subject
