"""Request ids of mutations (AIP-155): one key, one effect, one answer."""

from uuid import UUID, uuid4, uuid5

from mesh.errors import InvalidArgument

MAX_KEY_LENGTH = 128
_NAMESPACE = UUID("6d1f5f0c-7a43-5d0e-9a0c-3a6f1f9b7e21")


class IdempotencyKeyReused(InvalidArgument):
    """The key came before, with another request."""

    REASON = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self) -> None:
        super().__init__(
            "This request id was used before with another body; use a new one for a new request.",
            metadata={"field": "request_id"},
        )


def checked_key(key: str) -> str:
    """The caller's key, or a new one when it is empty. Raises InvalidArgument naming request_id."""
    if not key:
        return uuid4().hex
    if len(key) > MAX_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
        raise InvalidArgument.of_field(
            "request_id", f"must be 1 to {MAX_KEY_LENGTH} visible ASCII characters without spaces"
        )
    return key


def operation_id(kind: str, owner: str, key: str) -> str:
    """The UUID of the one operation that `key` stands for among `owner`'s of that kind."""
    return str(uuid5(_NAMESPACE, f"{kind}\n{owner}\n{key}"))
