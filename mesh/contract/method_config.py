"""A method's kind of work and its deadlines, as its proto declares them.

    kind      which methods                                      calls at once on a server
    --------  -------------------------------------------------  -------------------------
    READING   NO_SIDE_EFFECTS, unless the proto says otherwise   1,024
    WRITING   all other methods, unless the proto says otherwise 1,024
    HASHING   logins, registrations and changes of a               128
              password, by their protos
    SETTLING  methods that finish work in progress, by protos    1,024

A flood of one kind therefore leaves room for the others. The sum is below the bound of a
lane (`mesh.lanes.limits.MAX_HELD_CALLS`), so such a flood does not stop a server from
reading a lane either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from protos.mesh.v1 import options_pb2

DEFAULT_DEADLINE_SECONDS = 10.0
MAX_DEADLINE_SECONDS = 60.0


class WorkKind(IntEnum):
    """mesh.v1.WorkKind. Every server bounds each kind separately."""

    READING = options_pb2.WORK_KIND_READING
    WRITING = options_pb2.WORK_KIND_WRITING
    HASHING = options_pb2.WORK_KIND_HASHING
    SETTLING = options_pb2.WORK_KIND_SETTLING


BOUNDS: Mapping[WorkKind, int] = {
    WorkKind.READING: 1024,
    WorkKind.WRITING: 1024,
    WorkKind.HASHING: 128,
    WorkKind.SETTLING: 1024,
}
"""How many calls of each kind one server runs at once."""


@dataclass(frozen=True, slots=True)
class MethodConfig:
    """How a method may be called, by its proto; gRPC's service configuration has the name.

    `repeats`: it is safe to retry. `changes`: it may change state. `memory_seconds`: how long
    after the call a gateway may send the response again; 0 for a call for each request.
    `is_kept_together`: callers keep a few calls on one instance before they use the next.
    """

    work_kind: WorkKind = WorkKind.WRITING
    default_seconds: float = DEFAULT_DEADLINE_SECONDS
    max_seconds: float = MAX_DEADLINE_SECONDS
    repeats: bool = False
    changes: bool = True
    memory_seconds: float = 0.0
    is_kept_together: bool = False

    def seconds_for(self, requested_seconds: float | None) -> float:
        """The deadline of a call in seconds: the caller's, within the maximum, or the default
        if the caller gives none."""
        if requested_seconds is None:
            return self.default_seconds
        return min(requested_seconds, self.max_seconds)


UNKNOWN = MethodConfig()
"""For a method without a descriptor; assumes the worst."""


def config_of(options: MethodOptions) -> MethodConfig:
    """The configuration in a method's options."""
    limits = options.Extensions[options_pb2.limits]
    is_read = options.idempotency_level == options.NO_SIDE_EFFECTS
    max_seconds = limits.max_deadline_ms / 1000 or MAX_DEADLINE_SECONDS
    return MethodConfig(
        work_kind=WorkKind(limits.work_kind or (WorkKind.READING if is_read else WorkKind.WRITING)),
        default_seconds=limits.default_deadline_ms / 1000
        or min(DEFAULT_DEADLINE_SECONDS, max_seconds),
        max_seconds=max_seconds,
        repeats=is_read or options.idempotency_level == options.IDEMPOTENT,
        changes=not is_read,
        memory_seconds=options.Extensions[options_pb2.memory_ms] / 1000,
        is_kept_together=limits.kept_together,
    )


@cache
def config_of_path(path: str) -> MethodConfig:
    """The configuration of the method with that gRPC path, such as
    "/account.v1.AccountService/Login"; UNKNOWN if there is no such method."""
    try:
        found = descriptor_pool.Default().FindMethodByName(path.strip("/").replace("/", "."))
    except KeyError:
        return UNKNOWN
    return config_of(found.GetOptions())


def longest_memory_seconds(service: ServiceDescriptor) -> float:
    """For how long gateways may answer from memory what was read by any method of the service."""
    return max(config_of(method.GetOptions()).memory_seconds for method in service.methods)
