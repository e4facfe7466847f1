"""Reads the REST contract from the descriptors; routes, codecs and documents come from it.

Everything, also the comments, is read from the compiled protos into a descriptor pool of its
own. No generated module of a service is imported, so the gateway contains no business logic. A
contract that the gateway does not support is refused here, at the start, and not at a call.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from google.api import annotations_pb2, client_pb2, http_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)

from mesh.contract.access import Access, Rule, rule_of
from mesh.contract.method_config import MethodConfig, config_of
from protos.mesh.v1 import options_pb2

HTTP_BODY = "google.api.HttpBody"


class UnsupportedContract(Exception):
    """A proto uses an HTTP feature that this gateway does not support."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One verb and path template of a method (google.api.HttpRule).

    `raw_body` is the field that receives the body unread, or empty.
    """

    verb: str
    template: str
    takes_body: bool
    raw_body: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method with REST routes; `bindings` are in the proto's order, the main one first.

    `cache_seconds` is how long caches may keep its answer, 0 if the proto does not set it.
    """

    name: str
    path: str
    service: str
    service_comment: str
    host: str
    rule: Rule
    has_side_effects: bool
    cache_seconds: int
    config: MethodConfig
    request: Descriptor
    response: Descriptor
    bindings: tuple[Binding, ...]
    comment: str

    @property
    def is_cacheable(self) -> bool:
        """Whether caches may keep its answer: it is public, and the method only reads."""
        return self.rule.access is Access.PUBLIC and not self.has_side_effects

    @property
    def is_remembered(self) -> bool:
        """Whether the gateway sends its answer again for a moment before it calls anew."""
        return self.config.memory_seconds > 0

    def check(self) -> None:
        """Raises UnsupportedContract if caches or the gateway were to keep an answer that is
        not public, or that depends on more than the path and the query."""
        depends_on_more = any(map(is_raw_part, self.request.fields)) or any(
            binding.verb != "GET" for binding in self.bindings
        )
        is_kept = self.cache_seconds or self.is_remembered
        if is_kept and (depends_on_more or not self.is_cacheable):
            raise UnsupportedContract(f"{self.path}: nobody may keep its answer")


@dataclass(frozen=True, slots=True)
class Contracts:
    """All operations, and the comment of each element by its full proto name."""

    operations: tuple[Operation, ...]
    comments: dict[str, str]

    def hosts(self) -> tuple[str, ...]:
        """The services of the mesh that the operations call, in order of first use."""
        return tuple(dict.fromkeys(operation.host for operation in self.operations))


def load_contracts(serialized: bytes) -> Contracts:
    """Reads a FileDescriptorSet with source comments.

    Raises UnsupportedContract naming the method whose http rule is not supported.
    """
    files = FileDescriptorSet.FromString(serialized).file
    pool = _pool_of(files)
    comments: dict[str, str] = {}
    for file in files:
        comments.update(_comments_of(file))
    operations = tuple(
        operation
        for file in files
        for service in file.service
        for operation in _operations_of(file.package, service, pool, comments)
    )
    return Contracts(operations, comments)


def header_names_of(field: FieldDescriptor) -> tuple[str, ...]:
    """The headers that set a request field, the preferred one first."""
    return tuple(field.GetOptions().Extensions[options_pb2.http_header])


def is_raw_part(field: FieldDescriptor) -> bool:
    """Whether a field holds the raw body or a header, and never comes from JSON."""
    message = field.message_type
    return bool(header_names_of(field)) or (message is not None and message.full_name == HTTP_BODY)


def import_generated(serialized: bytes) -> None:
    """Imports the generated module of every file in a FileDescriptorSet.

    These modules fill the default descriptor pool, where the mesh's clients look up which
    methods may be repeated.
    """
    for file in FileDescriptorSet.FromString(serialized).file:
        generated_module(file.name)


def generated_module(proto: str) -> Any:
    """The generated module of a file such as "google/protobuf/timestamp.proto"."""
    return import_module(proto.removesuffix(".proto").replace("/", ".") + "_pb2")


def _pool_of(files: Sequence[FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    """A pool of these files; Google's files, which they import, come from the default pool."""
    pool = descriptor_pool.DescriptorPool()
    own = {file.name: file for file in files}
    added: set[str] = set()

    def add(name: str) -> None:
        if name in added:
            return
        added.add(name)
        file = own.get(name)
        if file is None:
            file = FileDescriptorProto()
            generated_module(name).DESCRIPTOR.CopyToProto(file)
        for dependency in file.dependency:
            add(dependency)
        pool.Add(file)

    for name in own:
        add(name)
    return pool


def _operations_of(
    package: str,
    service: ServiceDescriptorProto,
    pool: descriptor_pool.DescriptorPool,
    comments: dict[str, str],
) -> Iterator[Operation]:
    full_name = f"{package}.{service.name}"
    for method in service.method:
        if not method.options.HasExtension(annotations_pb2.http):
            continue
        if method.client_streaming or method.server_streaming:
            raise UnsupportedContract(f"{full_name}.{method.name}: REST cannot carry streams")
        operation = Operation(
            name=method.name,
            path=f"/{full_name}/{method.name}",
            service=full_name,
            service_comment=comments.get(full_name, ""),
            host=service.options.Extensions[client_pb2.default_host],
            rule=rule_of(method.options),
            has_side_effects=method.options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS,
            cache_seconds=method.options.Extensions[options_pb2.cache_seconds],
            config=config_of(method.options),
            request=pool.FindMessageTypeByName(method.input_type.lstrip(".")),
            response=pool.FindMessageTypeByName(method.output_type.lstrip(".")),
            bindings=tuple(_bindings_of(f"{full_name}.{method.name}", method)),
            comment=comments.get(f"{full_name}.{method.name}", ""),
        )
        operation.check()
        yield operation


def _bindings_of(full_name: str, method: MethodDescriptorProto) -> Iterator[Binding]:
    rule = method.options.Extensions[annotations_pb2.http]
    for each in (rule, *rule.additional_bindings):
        yield _binding_of(full_name, each)


def _binding_of(full_name: str, rule: http_pb2.HttpRule) -> Binding:
    verb = rule.WhichOneof("pattern")
    if verb in (None, "custom"):
        raise UnsupportedContract(f"{full_name}: only the five standard verbs are supported")
    if rule.response_body:
        raise UnsupportedContract(f"{full_name}: response_body is not supported")
    return Binding(verb.upper(), getattr(rule, verb), rule.body == "*", rule.body.removeprefix("*"))


# SourceCodeInfo addresses an element by field numbers within FileDescriptorProto and its parts.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_FIELDS, _NESTED_MESSAGES, _NESTED_ENUMS = 2, 3, 4
_METHODS = _VALUES = 2


def _comments_of(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    written = {
        tuple(location.path): location.leading_comments
        for location in file.source_code_info.location
        if location.leading_comments
    }
    for address, name in _elements_of(file):
        if address in written:
            yield name, _paragraphs(written[address])


def _paragraphs(comment: str) -> str:
    """Joins the lines of each paragraph, so that the width of the proto does not show."""
    paragraphs = re.split(r"\n[ \t]*\n", comment.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _elements_of(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    for index, message in enumerate(file.message_type):
        yield from _message_elements((_MESSAGES, index), file.package, message)
    for index, enum in enumerate(file.enum_type):
        yield from _enum_elements((_ENUMS, index), file.package, enum)
    for index, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield (_SERVICES, index), name
        for position, method in enumerate(service.method):
            yield (_SERVICES, index, _METHODS, position), f"{name}.{method.name}"


def _message_elements(
    address: tuple[int, ...], scope: str, message: DescriptorProto
) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{scope}.{message.name}"
    yield address, name
    for index, field in enumerate(message.field):
        yield (*address, _FIELDS, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _message_elements((*address, _NESTED_MESSAGES, index), name, nested)
    for index, enum in enumerate(message.enum_type):
        yield from _enum_elements((*address, _NESTED_ENUMS, index), name, enum)


def _enum_elements(
    address: tuple[int, ...], scope: str, enum: EnumDescriptorProto
) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{scope}.{enum.name}"
    yield address, name
    for index, value in enumerate(enum.value):
        yield (*address, _VALUES, index), f"{name}.{value.name}"
