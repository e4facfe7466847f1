"""Idempotency keys of mutations (AIP-155): one key, one effect, one response."""

import re
from hashlib import sha1
from uuid import UUID, uuid4

from mesh.errors import Aborted, InvalidArgument

IDEMPOTENCY_KEY = "idempotency_key"
"""The request field that holds the key; also the key's name in an error's metadata."""
MAX_KEY_LENGTH = 128
RETRY_AFTER_SECONDS = 1.0
_NAMESPACE = UUID("6d1f5f0c-7a43-5d0e-9a0c-3a6f1f9b7e21").bytes
_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY_LENGTH}}}")


class IdempotencyKeyReused(InvalidArgument):
    """The key was used before with another request."""

    REASON = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self) -> None:
        super().__init__(
            "This idempotency key was used before with another request; give each request its own.",
            metadata={"field": IDEMPOTENCY_KEY},
        )


class IdempotencyKeyInUse(Aborted):
    """The first request with this key is still running; this one changed nothing."""

    REASON = "IDEMPOTENCY_KEY_IN_USE"

    def __init__(self) -> None:
        super().__init__(
            "The first request with this idempotency key is still under way; "
            "repeat the call with the same key in a moment.",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


def new_key() -> str:
    """A random key, for a request without one."""
    return uuid4().hex


def is_fit_key(key: str) -> bool:
    """Whether it is a valid key: 1 to MAX_KEY_LENGTH visible ASCII characters."""
    return _KEY.fullmatch(key) is not None


def checked_key(key: str) -> str:
    """The caller's key, or a new one if it is empty. Raises InvalidArgument naming
    the field idempotency_key."""
    if not key:
        return new_key()
    if not is_fit_key(key):
        raise InvalidArgument.of_field(
            IDEMPOTENCY_KEY,
            f"must be 1 to {MAX_KEY_LENGTH} visible ASCII characters without spaces",
        )
    return key


def operation_id(kind: str, owner: str, key: str) -> str:
    """The UUID of the operation that `key` identifies among the `owner`'s operations of that
    kind. Deterministic: the same arguments give the same id.

    It is a version 5 UUID (RFC 9562). `uuid.uuid5` would give the same but creates five
    objects, which is too slow for a pull.
    """
    name = f"{kind}\n{owner}\n{key}".encode()
    digest = sha1(_NAMESPACE + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
