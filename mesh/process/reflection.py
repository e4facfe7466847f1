"""Server reflection under v1 and v1alpha, so that tools need no proto files.

It serves the descriptor set that protoc wrote beside the protos, which has the JSON names of
fields and the comments. grpcio-reflection serves the descriptors inside the generated code,
which lack both. It also supports only v1alpha, and finds no method by its name.
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from importlib import import_module
from typing import Any

import grpc
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2

from mesh.errors import MeshError
from mesh.serving.contexts import abort, metadata_of
from mesh.serving.streams import StreamSlots
from protos import DESCRIPTORS

V1ALPHA, V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
SERVICE_NAMES = (f"{V1}.ServerReflection", f"{V1ALPHA}.ServerReflection")
OTHERS_FILES = (
    "grpc_health/v1/health.proto",
    "grpc_reflection/v1alpha/reflection.proto",
    "google/rpc/error_details.proto",
)
"""Third-party protos that callers need: health, reflection, and error details."""

STRANGER_SECONDS = 120.0


class Reflection:
    """Lists the services, and serves every descriptor that their callers may need."""

    def __init__(
        self,
        services: Iterable[str],
        slots: StreamSlots,
        others_files: Iterable[str] = (),
        *,
        stranger_seconds: float = STRANGER_SECONDS,
    ) -> None:
        """`slots` are for its streams, which last `stranger_seconds` for strangers. `others_files`
        are third-party protos, whose generated modules are named after them; their imports are
        added too."""
        self._slots = slots
        self._stranger_seconds = stranger_seconds
        self._services = sorted({*services, *SERVICE_NAMES})
        self._files: dict[str, FileDescriptorProto] = {}
        self._symbols: dict[str, str] = {}
        self._extensions: dict[str, dict[int, str]] = {}
        for file in FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
            self._add(file)
        for name in (*OTHERS_FILES, *others_files):
            self._add_known(name)
        self._add(_reflection_v1())

    def handlers(self) -> Iterator[grpc.GenericRpcHandler]:
        """One handler for each of v1 and v1alpha, which have the same messages."""
        handler: grpc.RpcMethodHandler[bytes, Any] = grpc.stream_stream_rpc_method_handler(
            self._serve,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        for name in SERVICE_NAMES:
            yield grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})

    async def _serve(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        metadata = metadata_of(context)
        try:
            async with self._slots.slot(metadata, self._stranger_seconds):
                async for answer in self._answer_all(requests, context):
                    yield answer
        except MeshError as error:
            await abort(context, error, metadata)

    async def _answer_all(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            try:
                yield self._answer(reflection_pb2.ServerReflectionRequest.FromString(request))
            except DecodeError:
                message = "The request is not a valid ServerReflectionRequest."
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)

    def _answer(self, request: Any) -> Any:
        answer = reflection_pb2.ServerReflectionResponse(
            valid_host=request.host, original_request=request
        )
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            for name in self._services:
                answer.list_services_response.service.add(name=name)
        elif kind == "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            answer.all_extension_numbers_response.base_type_name = name
            answer.all_extension_numbers_response.extension_number.extend(
                sorted(self._extensions.get(name, {}))
            )
        elif (file := self._file_for(request, kind)) is not None:
            answer.file_descriptor_response.file_descriptor_proto.extend(
                each.SerializeToString() for each in self._with_dependencies(file).values()
            )
        else:
            answer.error_response.error_code = grpc.StatusCode.NOT_FOUND.value[0]
            answer.error_response.error_message = "There is no such file or symbol here."
        return answer

    def _file_for(self, request: Any, kind: str | None) -> FileDescriptorProto | None:
        name = None
        if kind == "file_by_filename":
            name = request.file_by_filename
        elif kind == "file_containing_symbol":
            name = self._symbols.get(request.file_containing_symbol)
        elif kind == "file_containing_extension":
            extension = request.file_containing_extension
            extensions = self._extensions.get(extension.containing_type, {})
            name = extensions.get(extension.extension_number)
        return self._files.get(name) if name is not None else None

    def _with_dependencies(self, file: FileDescriptorProto) -> dict[str, FileDescriptorProto]:
        found = {file.name: file}
        for name in file.dependency:
            found |= self._with_dependencies(self._files[name])
        return found

    def _add_known(self, name: str) -> None:
        """Adds the file of a third-party generated module."""
        module = import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        self._add(file)

    def _add(self, file: FileDescriptorProto) -> None:
        if file.name in self._files:
            return
        self._files[file.name] = file
        for symbol in _symbols_of(file):
            self._symbols[symbol] = file.name
        for extension in file.extension:
            extended = extension.extendee.lstrip(".")
            self._extensions.setdefault(extended, {})[extension.number] = file.name
        for message in file.message_type:
            _name_fields(message)
        for dependency in file.dependency:
            # The set holds our own files; what they import from others is in modules.
            if not dependency.startswith("protos/"):
                self._add_known(dependency)


def _reflection_v1() -> FileDescriptorProto:
    """grpc/reflection/v1/reflection.proto: the v1alpha file with another package name."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = file.name.replace("v1alpha", "v1")
    file.package = V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(f".{V1ALPHA}.", f".{V1}.")
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(f".{V1ALPHA}.", f".{V1}.")
        method.output_type = method.output_type.replace(f".{V1ALPHA}.", f".{V1}.")
    return file


def _symbols_of(file: FileDescriptorProto) -> Iterator[str]:
    for message in file.message_type:
        yield from _symbols_of_message(file.package, message)
    for enum in file.enum_type:
        yield from _symbols_of_enum(file.package, enum)
    for extension in file.extension:
        yield f"{file.package}.{extension.name}"
    for service in file.service:
        yield f"{file.package}.{service.name}"
        for method in service.method:
            yield f"{file.package}.{service.name}.{method.name}"


def _symbols_of_message(scope: str, message: DescriptorProto) -> Iterator[str]:
    name = f"{scope}.{message.name}"
    yield name
    for field in message.field:
        yield f"{name}.{field.name}"
    for nested in message.nested_type:
        yield from _symbols_of_message(name, nested)
    for enum in message.enum_type:
        yield from _symbols_of_enum(name, enum)


def _symbols_of_enum(scope: str, enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"{scope}.{enum.name}"
    for value in enum.value:
        yield f"{scope}.{value.name}"


def _name_fields(message: DescriptorProto) -> None:
    """Adds the JSON names that descriptors in generated code lack."""
    for field in message.field:
        if not field.json_name:
            field.json_name = _json_name(field)
    for nested in message.nested_type:
        _name_fields(nested)


def _json_name(field: FieldDescriptorProto) -> str:
    first, *rest = field.name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
