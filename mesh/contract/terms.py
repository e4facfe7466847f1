"""What kind of work a method is, and how long it may take: what its proto says of it.

    kind      which methods                                    calls at once on a server
    --------  -----------------------------------------------  -------------------------
    READING   NO_SIDE_EFFECTS, unless the proto says otherwise  1,024
    WRITING   all other methods, unless the proto says otherwise  1,024
    HASHING   logins and registrations, by their protos            64
    SETTLING  what ends work that was begun, by their protos    1,024

So a flood of one kind leaves the others their room; together they are fewer than
a lane holds (`mesh.lanes.limits.MAX_HELD_CALLS`), so no flood of one kind keeps a
lane from being read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions

from protos.mesh.v1 import options_pb2

DEFAULT_DEADLINE_SECONDS = 10.0
MAX_DEADLINE_SECONDS = 60.0


class WorkKind(IntEnum):
    """A kind of work, which has a bound of its own on every server: mesh.v1.WorkKind."""

    READING = options_pb2.WORK_KIND_READING
    WRITING = options_pb2.WORK_KIND_WRITING
    HASHING = options_pb2.WORK_KIND_HASHING
    SETTLING = options_pb2.WORK_KIND_SETTLING


BOUNDS: Mapping[WorkKind, int] = {
    WorkKind.READING: 1024,
    WorkKind.WRITING: 1024,
    WorkKind.HASHING: 64,
    WorkKind.SETTLING: 1024,
}
"""How many calls of each kind one server runs at once."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a method's proto declares about calling it.

    `repeats` says that it may be sent again, `changes` that it may change something.
    """

    work_kind: WorkKind = WorkKind.WRITING
    default_seconds: float = DEFAULT_DEADLINE_SECONDS
    max_seconds: float = MAX_DEADLINE_SECONDS
    repeats: bool = False
    changes: bool = True

    def seconds_for(self, asked_seconds: float | None) -> float:
        """How long a call may take whose caller asks for that, or for nothing."""
        if asked_seconds is None:
            return self.default_seconds
        return min(asked_seconds, self.max_seconds)


UNKNOWN = Terms()
"""Of a method that nobody has declared: the worst is assumed."""


def terms_of(options: MethodOptions) -> Terms:
    """What a method declares, whose options these are."""
    limits = options.Extensions[options_pb2.limits]
    is_read = options.idempotency_level == options.NO_SIDE_EFFECTS
    max_seconds = limits.max_deadline_ms / 1000 or MAX_DEADLINE_SECONDS
    return Terms(
        work_kind=WorkKind(limits.work_kind or (WorkKind.READING if is_read else WorkKind.WRITING)),
        default_seconds=limits.default_deadline_ms / 1000
        or min(DEFAULT_DEADLINE_SECONDS, max_seconds),
        max_seconds=max_seconds,
        repeats=is_read or options.idempotency_level == options.IDEMPOTENT,
        changes=not is_read,
    )


@cache
def terms_of_path(path: str) -> Terms:
    """What the proto of a gRPC path, such as "/account.v1.AccountService/Login", declares."""
    try:
        found = descriptor_pool.Default().FindMethodByName(path.strip("/").replace("/", "."))
    except KeyError:
        return UNKNOWN
    return terms_of(found.GetOptions())
