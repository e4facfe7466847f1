"""MeshError to google.rpc.Status and back (AIP-193).

An error crosses the wire as a status code, a message, and the trailer
`grpc-status-details-bin` with ErrorInfo, BadRequest and RetryInfo. Every error fits into a
trailer and into a lane's message: long text is cut, and text that cannot be encoded is
replaced.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mesh.errors import BY_CODE, DOMAIN, Code, FieldViolation, MeshError

DETAILS_KEY = "grpc-status-details-bin"
MAX_MESSAGE_LENGTH = 512
"""The longest error message, in characters."""
MAX_STATUS_BYTES = 4 * 1024
"""In base64 and together with its message, this fits into 16 KiB of metadata."""


def to_status(error: MeshError) -> status_pb2.Status:
    """The error as it crosses the wire. If the details are too large, only the reason is kept."""
    try:
        status = _full_status(error)
        if status.ByteSize() <= MAX_STATUS_BYTES:
            return status
    except (TypeError, ValueError):  # not a str, or with an unpaired surrogate
        pass
    message = error.message.encode("utf-8", "replace")[:MAX_MESSAGE_LENGTH]
    status = status_pb2.Status(code=int(error.code), message=message.decode("utf-8", "ignore"))
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    return status


def _full_status(error: MeshError) -> status_pb2.Status:
    status = status_pb2.Status(code=int(error.code), message=error.message[:MAX_MESSAGE_LENGTH])
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    )
    if error.fields:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.fields:
            bad_request.field_violations.add(
                field=violation.field, description=violation.description
            )
        status.details.add().Pack(bad_request)
    if error.retry_after_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def from_wire(code: int, message: str, details: bytes | None) -> MeshError:
    """The error that `to_status` wrote, or the closest match for another server's status."""
    reason: str | None = None
    metadata: dict[str, str] = {}
    fields: tuple[FieldViolation, ...] = ()
    retry_after_seconds: float | None = None
    for detail in _details_of(details):
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad_request):
            fields = tuple(
                FieldViolation(violation.field, violation.description)
                for violation in bad_request.field_violations
            )
        elif detail.Unpack(retry):
            retry_after_seconds = retry.retry_delay.ToTimedelta().total_seconds()
    known = Code(code) if code in code_pb2.Code.values() else Code.UNKNOWN
    return BY_CODE.get(known, MeshError)(
        message,
        reason=reason,
        metadata=metadata,
        fields=fields,
        retry_after_seconds=retry_after_seconds,
    )


def _details_of(serialized: bytes | None) -> Iterable[Any]:
    """The details of a google.rpc.Status; empty if it is missing or malformed."""
    status = status_pb2.Status()
    with suppress(DecodeError):
        status.ParseFromString(serialized or b"")
    return tuple(status.details)
