"""The terms of the protocol, and the gid.

A transaction is global and has a gid. A branch is its part in one database. Its operations
are independent; they share a transaction only for speed.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from mesh.errors import Aborted, DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted

GID_MAX_AGE_SECONDS = 30
GID_MAX_LENGTH = 199
MAX_OPERATIONS = 256
"""The bound of the protocol: a participant refuses a Prepare with more."""
MAX_LISTED = 1000
"""The maximum length of a list of branches, or of open decisions."""
FORGET_LIMIT = 10_000
"""The maximum number of old rows that one transaction removes."""
RECOVERY_AGE_SECONDS = 3.0
"""The minimum age of a branch or decision before recovery acts on it."""

BUSY = "BUSY"
DUPLICATE = "DUPLICATE"

_GID = re.compile(r"[!-9;-~]{1,100}:[0-9]{13}:[0-9a-f]{16}")

Body = TypeVar("Body")
Result = TypeVar("Result")


class GidUsed(Aborted):
    REASON = "GID_USED"

    @classmethod
    def refused(cls) -> "GidUsed":
        return cls("The gid was used before; a retry takes a new one.")


class GidExpired(Aborted):
    REASON = "GID_EXPIRED"


class NoPreparedSlot(ResourceExhausted):
    REASON = "NO_PREPARED_SLOT"

    @classmethod
    def refused(cls) -> "NoPreparedSlot":
        return cls(
            "The database holds as many prepared transactions as it may; try again soon.",
            retry_after_seconds=1.0,
        )


class BranchLost(DataLoss):
    REASON = "BRANCH_LOST"


class RedoRefused(FailedPrecondition):
    REASON = "REDO_REFUSED"


class AlreadyCommitted(FailedPrecondition):
    REASON = "ALREADY_COMMITTED"


class Outcome(StrEnum):
    """The outcome of a transaction."""

    COMMIT = "commit"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Operation(Generic[Body]):
    """One operation in one database. `id` is a UUID that is never used for another."""

    id: str
    body: Body


@dataclass(frozen=True, slots=True)
class Branch:
    """A prepared branch that waits for an outcome."""

    gid: str
    prepared_at: datetime


@dataclass(frozen=True, slots=True)
class Yes(Generic[Result]):
    """The operation takes effect if the transaction commits."""

    result: Result


@dataclass(frozen=True, slots=True)
class No:
    """The operation is not part of the transaction; `reason` says why."""

    reason: str
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


Vote = Yes[Result] | No


def random_token() -> str:
    """64 random bits in hexadecimal, which make a gid unique."""
    return secrets.token_hex(8)


def new_gid(coordinator: str, now_seconds: float, token: Callable[[], str] = random_token) -> str:
    """A new, unique gid: <coordinator>:<created_ms>:<random>."""
    return f"{coordinator}:{int(now_seconds * 1000):013}:{token()}"


def is_gid(text: str) -> bool:
    """Whether it has the form of a gid."""
    return len(text) <= GID_MAX_LENGTH and _GID.fullmatch(text) is not None


def gid_age_seconds(gid: str, now_seconds: float) -> float:
    """The age of a gid. Raises InvalidArgument if it is malformed."""
    return now_seconds - gid_made_at_seconds(gid)


def gid_made_at_seconds(gid: str) -> float:
    """When a gid was made, in seconds since 1970 by its coordinator's clock. Raises
    InvalidArgument if it is malformed."""
    if not is_gid(gid):
        raise InvalidArgument.of_field("gid", "must read <coordinator>:<created_ms>:<random>")
    return int(gid.split(":")[1]) / 1000


def check_operations(operations: Sequence[Operation[Body]]) -> None:
    """Raises InvalidArgument unless there are 1 to MAX_OPERATIONS, with different ids."""
    if not 1 <= len(operations) <= MAX_OPERATIONS:
        raise InvalidArgument.of_field("operations", f"must be 1 to {MAX_OPERATIONS}")
    if len({operation.id for operation in operations}) < len(operations):
        raise InvalidArgument.of_field("operations", "must have ids that differ")
