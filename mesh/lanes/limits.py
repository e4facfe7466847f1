"""The bounds of a lane, and the errors of calls that exceed them."""

from mesh.calling.transport import NotCarried, UnfitMetadata
from mesh.calling.unary import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES
from mesh.calls import Metadata
from mesh.errors import ResourceExhausted

EXCHANGE = "/mesh.v1.LaneService/Exchange"

MAX_BATCH_CALLS = 256
MAX_BATCH_BYTES = MAX_REQUEST_BYTES
"""A larger reply, or call with its metadata, has a message of its own."""

MAX_METADATA_BYTES = 16 * 1024
ENVELOPE_BYTES = 64 * 1024
"""What a batch may add to the size of the largest request or response."""
MAX_CALLS_BYTES = MAX_REQUEST_BYTES + ENVELOPE_BYTES
MAX_REPLIES_BYTES = MAX_RESPONSE_BYTES + ENVELOPE_BYTES
"""The largest messages of a lane."""

MAX_UNSENT_CALLS = 4096
MAX_UNSENT_BYTES = 32 * 1024 * 1024
"""What a client queues for a lane that does not accept it."""

MAX_HELD_CALLS = 4096
MAX_HELD_REPLY_BYTES = 32 * 1024 * 1024
"""What a server holds for a client that does not read replies. The server stops reading
calls above this and continues below it."""

MAX_LANES = 1024
"""How many lanes one server accepts."""


class LaneFull(NotCarried, ResourceExhausted):
    """The queue of unsent calls is full: the instance does not keep up."""

    REASON = "LANE_FULL"
    may_fit_elsewhere = True

    def __init__(self) -> None:
        super().__init__(
            "Too many calls wait for this service; repeat the call in a moment.",
            retry_after_seconds=1.0,
        )


class MessageTooLarge(NotCarried, ResourceExhausted):
    """A request, a response or the metadata exceeds its bound."""

    REASON = "MESSAGE_TOO_LARGE"
    retryable = False

    def __init__(self, what: str, size_bytes: int, bound_bytes: int) -> None:
        super().__init__(f"The {what} is {size_bytes} bytes; at most {bound_bytes} are allowed.")


def checked_call_size(request: bytes, metadata: Metadata) -> int:
    """The approximate size of a call in bytes. Raises MessageTooLarge and UnfitMetadata, so
    that such a call fails alone and not together with the rest of its message."""
    if len(request) > MAX_REQUEST_BYTES:
        raise MessageTooLarge("request", len(request), MAX_REQUEST_BYTES)
    size_bytes = 0
    for key, value in metadata.items():
        if not (key.isascii() and value.isascii()):
            raise UnfitMetadata
        size_bytes += len(key) + len(value)
    if size_bytes > MAX_METADATA_BYTES:
        raise MessageTooLarge("metadata", size_bytes, MAX_METADATA_BYTES)
    return size_bytes + len(request)
