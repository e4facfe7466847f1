"""The targets of xDS: their names, and which of their methods may be repeated.

All of it is read from the protos' descriptors. A service of the mesh is the
`google.api.default_host` of its proto services, such as gacha_svc; its names are that one and
the short one, gacha. The client's gRPC retries without looking into a request. So a method is
repeatable only if every request of it is: its proto declares it idempotent, and that does not
depend on an idempotency key, which a caller may omit.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.api import client_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)

from mesh.contract.idempotency import IDEMPOTENCY_KEY

_SUFFIX = "_svc"
_IDEMPOTENT = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


@dataclass(frozen=True, slots=True)
class Target:
    """A service of the mesh, the names by which clients dial it, and the paths of its
    repeatable methods, in the protos' order."""

    service: str
    names: tuple[str, ...]
    repeatable: tuple[str, ...]


def load_targets(serialized: bytes) -> tuple[Target, ...]:
    """The targets of a FileDescriptorSet, ordered by service."""
    files = FileDescriptorSet.FromString(serialized).file
    messages = {
        f".{file.package}.{message.name}": message
        for file in files
        for message in file.message_type
    }
    repeatable: dict[str, list[str]] = {}
    for file in files:
        for service in file.service:
            host = service.options.Extensions[client_pb2.default_host]
            if host:
                name = f"{file.package}.{service.name}"
                repeatable.setdefault(host, []).extend(_repeatable(name, service, messages))
    return tuple(
        Target(host, tuple(_names_of(host)), tuple(paths))
        for host, paths in sorted(repeatable.items())
    )


def _names_of(host: str) -> Iterable[str]:
    return dict.fromkeys((host.removesuffix(_SUFFIX), host))


def _repeatable(
    name: str, service: ServiceDescriptorProto, messages: dict[str, DescriptorProto]
) -> Iterator[str]:
    for method in service.method:
        if _may_be_repeated(method, messages.get(method.input_type)):
            yield f"/{name}/{method.name}"


def _may_be_repeated(method: MethodDescriptorProto, request: DescriptorProto | None) -> bool:
    if method.options.idempotency_level not in _IDEMPOTENT:
        return False
    return request is None or IDEMPOTENCY_KEY not in (field.name for field in request.field)
