"""The words of the protocol, and the gid.

A transaction is global and has a gid; its branch is its part in one database;
its operations share it for speed alone.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from mesh.errors import Aborted, DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted

GID_MAX_AGE_SECONDS = 30
GID_MAX_LENGTH = 199
MAX_OPERATIONS = 256
RECOVERY_AGE_SECONDS = 3.0
"""How old a branch or a decision is before somebody other than its coordinator acts on it."""

BUSY = "BUSY"
DUPLICATE = "DUPLICATE"

_GID = re.compile(r"[!-9;-~]{1,100}:[0-9]{13}:[0-9a-f]{16}")

Body = TypeVar("Body")
Result = TypeVar("Result")


class GidUsed(Aborted):
    REASON = "GID_USED"


class GidExpired(Aborted):
    REASON = "GID_EXPIRED"


class NoPreparedSlot(ResourceExhausted):
    REASON = "NO_PREPARED_SLOT"


class BranchLost(DataLoss):
    REASON = "BRANCH_LOST"


class RedoRefused(FailedPrecondition):
    REASON = "REDO_REFUSED"


class AlreadyCommitted(FailedPrecondition):
    REASON = "ALREADY_COMMITTED"


class Outcome(StrEnum):
    """What becomes of a transaction, as tx_decision stores it."""

    COMMIT = "commit"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Operation(Generic[Body]):
    """One part of a transaction in one database; `id` is a UUID and its own for ever."""

    id: str
    body: Body


@dataclass(frozen=True, slots=True)
class Yes(Generic[Result]):
    """The operation takes effect if the transaction commits."""

    result: Result


@dataclass(frozen=True, slots=True)
class No:
    """The operation is not part of the transaction, and why."""

    reason: str
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


Vote = Yes[Result] | No


def random_token() -> str:
    """What makes a gid its own: 64 random bits."""
    return secrets.token_hex(8)


def new_gid(coordinator: str, now_seconds: float, token: Callable[[], str] = random_token) -> str:
    """A gid that nobody ever used: <coordinator>:<created_ms>:<random>."""
    return f"{coordinator}:{int(now_seconds * 1000):013}:{token()}"


def is_gid(text: str) -> bool:
    """Whether `new_gid` may have made it."""
    return len(text) <= GID_MAX_LENGTH and _GID.fullmatch(text) is not None


def gid_age_seconds(gid: str, now_seconds: float) -> float:
    """How long ago a gid was made. Raises InvalidArgument when it is no gid."""
    return now_seconds - gid_made_at_seconds(gid)


def gid_made_at_seconds(gid: str) -> float:
    """When a gid was made, by its coordinator's clock. Raises InvalidArgument when it is none."""
    if not is_gid(gid):
        raise InvalidArgument.of_field("gid", "must read <coordinator>:<created_ms>:<random>")
    return int(gid.split(":")[1]) / 1000
