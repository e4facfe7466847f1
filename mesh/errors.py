"""Every error that may cross a process boundary, with its gRPC code and its reason.

    MeshError
    +-- Cancelled              1   the caller went away
    +-- InvalidArgument        3   the request is wrong in every state of the system
    +-- DeadlineExceeded       4   time ran out; what happened is unknown
    +-- NotFound               5
    +-- AlreadyExists          6
    +-- PermissionDenied       7
    +-- ResourceExhausted      8   a bound was reached; come back later
    |   +-- Overloaded             refused before any work was done
    +-- FailedPrecondition     9   the request is right, the state is not
    +-- Aborted               10   lost a race and changed nothing; try again
    +-- Unimplemented         12
    +-- Internal              13   our bug; the caller gets only the trace id
    +-- Unavailable           14   this instance cannot answer; another may
    |   +-- DependencyAway         a dependency is down; the instance itself is healthy
    |       +-- NoKeysYet          it has no keys to verify tokens with; no work was done
    |       +-- InDoubt            it may have taken effect; repeat with the same key
    +-- DataLoss              15   needs a person
    +-- Unauthenticated       16

Services add subclasses in their own domain. This module does not import gRPC, so that a
domain may raise these errors. The codes are those of google.rpc.Code; the shape follows
AIP-193.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

DOMAIN = "gacha-mesh"
"""The domain of every google.rpc.ErrorInfo that the mesh sends."""

INSTANCE, SERVES = "instance", "serves"
"""This metadata entry marks an UNAVAILABLE whose sender is healthy: it opens no breaker."""


class Code(IntEnum):
    """google.rpc.Code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that is wrong, and what would be right."""

    field: str
    description: str


def sentence_of(violations: Iterable[FieldViolation]) -> str:
    """The wrong fields as one sentence, such as "a must be text; b is missing"."""
    return "; ".join(f"{violation.field} {violation.description}" for violation in violations)


class MeshError(Exception):
    """An error that is sent to the caller.

    `message` is one sentence for people and names the remedy. `reason` is for machines, in
    UPPER_SNAKE_CASE. `metadata` has details for machines. `fields` lists the wrong fields.
    `retryable` says that the same request may succeed later, unchanged.
    """

    CODE: ClassVar[Code] = Code.UNKNOWN
    REASON: ClassVar[str] = "UNKNOWN"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        fields: tuple[FieldViolation, ...] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.REASON
        self.metadata = dict(metadata or {})
        self.fields = fields
        self.retry_after_seconds = retry_after_seconds

    @property
    def code(self) -> Code:
        return self.CODE


class Cancelled(MeshError):
    CODE, REASON = Code.CANCELLED, "CANCELLED"


class InvalidArgument(MeshError):
    CODE, REASON = Code.INVALID_ARGUMENT, "INVALID_ARGUMENT"

    @classmethod
    def of_field(cls, field: str, description: str) -> "InvalidArgument":
        """The error for one wrong field. The message is the field's name and `description`."""
        return cls.of_fields(FieldViolation(field, description))

    @classmethod
    def of_fields(cls, *violations: FieldViolation) -> "InvalidArgument":
        """The error for wrong fields, at least one. The message names them all."""
        return cls(
            sentence_of(violations),
            reason="INVALID_FIELD",
            metadata={"field": violations[0].field},
            fields=violations,
        )


class DeadlineExceeded(MeshError):
    CODE, REASON, retryable = Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", True


class NotFound(MeshError):
    CODE, REASON = Code.NOT_FOUND, "NOT_FOUND"


class AlreadyExists(MeshError):
    CODE, REASON = Code.ALREADY_EXISTS, "ALREADY_EXISTS"


class PermissionDenied(MeshError):
    CODE, REASON = Code.PERMISSION_DENIED, "PERMISSION_DENIED"


class ResourceExhausted(MeshError):
    CODE, REASON, retryable = Code.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", True


class Overloaded(ResourceExhausted):
    """There is no room for another call of this kind. The call did no work.

    The server adds the method's path to the metadata. A caller of that same method may
    therefore send the call to another instance.
    """

    REASON = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)


class FailedPrecondition(MeshError):
    CODE, REASON = Code.FAILED_PRECONDITION, "FAILED_PRECONDITION"


class Aborted(MeshError):
    CODE, REASON, retryable = Code.ABORTED, "ABORTED", True


class Unimplemented(MeshError):
    CODE, REASON = Code.UNIMPLEMENTED, "UNIMPLEMENTED"


class Internal(MeshError):
    CODE, REASON = Code.INTERNAL, "INTERNAL"

    @classmethod
    def of_trace(cls, trace_id: str) -> "Internal":
        """All that a caller learns of a bug: the trace id to find it in the logs."""
        return cls(f"Internal error; quote trace id {trace_id}.")


class Unavailable(MeshError):
    """The instance that sent this cannot answer; another one may."""

    CODE, REASON, retryable = Code.UNAVAILABLE, "UNAVAILABLE", True

    @property
    def is_about_instance(self) -> bool:
        """Whether the instance itself is down, and not one of its dependencies."""
        return self.metadata.get(INSTANCE) != SERVES

    def mark_instance_healthy(self) -> None:
        """Marks the instance that sends this error as healthy, for remote callers too."""
        self.metadata[INSTANCE] = SERVES


class DependencyAway(Unavailable):
    """A dependency of this call cannot answer. The instance itself is healthy."""

    REASON = "DEPENDENCY_AWAY"

    def __init__(
        self,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata, retry_after_seconds=retry_after_seconds)
        self.mark_instance_healthy()


class NoKeysYet(DependencyAway):
    """The instance has no keys yet to verify tokens with. The call did no work.

    The server adds the method's path to the metadata, as with `Overloaded`.
    """

    REASON = "NO_KEYS_YET"


class DataLoss(MeshError):
    CODE, REASON = Code.DATA_LOSS, "DATA_LOSS"


class InDoubt(DependencyAway):
    """It is unknown whether the call took effect; a repeat with the same idempotency key
    returns the outcome later."""

    REASON = "OUTCOME_UNKNOWN"

    def __init__(
        self,
        message: str = "The outcome is unknown yet; repeat the call with the same idempotency key.",
    ) -> None:
        super().__init__(message)


class Unauthenticated(MeshError):
    CODE, REASON = Code.UNAUTHENTICATED, "UNAUTHENTICATED"


BY_CODE: dict[Code, type[MeshError]] = {
    error.CODE: error
    for error in (
        Cancelled,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
    )
}
"""The class to raise for a code that another process sent."""
