"""Metadata and deadline from gRPC's context of a call, and its abort with an error."""

from typing import Any

import grpc

from mesh.addresses import address_of_peer
from mesh.calls import CLIENT_ADDRESS, REQUEST_ID, Metadata, is_fit_request_id
from mesh.contract.method_config import MethodConfig
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.status import DETAILS_KEY, to_status

UNKNOWN_ADDRESS = "unknown"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def metadata_of(context: Any) -> Metadata:
    """The textual metadata; for a repeated key, the last value. The client's address is always
    that of the connected peer; a value that was sent for it is replaced."""
    metadata = {
        key: value for key, value in context.invocation_metadata() if isinstance(value, str)
    }
    metadata[CLIENT_ADDRESS] = address_of_peer(context.peer()) or UNKNOWN_ADDRESS
    return metadata


def deadline_of(context: Any, config: MethodConfig) -> Deadline:
    """The caller's deadline, within what the method allows."""
    return Deadline.after(config.seconds_for(context.time_remaining()))


async def abort(context: Any, error: MeshError, metadata: Metadata) -> None:
    """Ends the call with the error and its details. Always raises gRPC's AbortError."""
    status = to_status(error)
    trailers = [(DETAILS_KEY, status.SerializeToString())]
    request_id = metadata.get(REQUEST_ID, "")
    if is_fit_request_id(request_id):
        trailers.append((REQUEST_ID, request_id))
    await context.abort(_CODES[int(error.code)], status.message, tuple(trailers))
