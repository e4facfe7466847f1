"""What gRPC's context of a call tells a server, and how an error leaves through it."""

from typing import Any

import grpc

from mesh.calls import REQUEST_ID, Metadata
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.status import DETAILS_KEY, to_status

DEFAULT_DEADLINE_SECONDS = 10.0
MAX_DEADLINE_SECONDS = 60.0

_CODES = {code.value[0]: code for code in grpc.StatusCode}


def metadata_of(context: Any) -> Metadata:
    """The textual metadata; the last value of a key that came twice."""
    return {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}


def deadline_of(context: Any) -> Deadline:
    """The caller's deadline, within what this server allows."""
    remaining = context.time_remaining()
    seconds = DEFAULT_DEADLINE_SECONDS if remaining is None else remaining
    return Deadline.after(min(seconds, MAX_DEADLINE_SECONDS))


async def abort(context: Any, error: MeshError, metadata: Metadata) -> None:
    """Ends the call with the error and all its details. Raises what gRPC ends a call by."""
    trailers = [(DETAILS_KEY, to_status(error).SerializeToString())]
    if REQUEST_ID in metadata:
        trailers.append((REQUEST_ID, metadata[REQUEST_ID]))
    await context.abort(_CODES[int(error.code)], error.message, tuple(trailers))
