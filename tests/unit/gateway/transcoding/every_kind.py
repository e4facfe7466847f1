"""A message with a field of every protobuf kind, to test the codecs.

Most kinds are not used by a contract yet, but the gateway must support them.
"""

from functools import cache

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool

SCALARS = (
    *("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string"),
    *("bytes", "uint32", "sfixed32", "sfixed64", "sint32", "sint64"),
)


@cache
def every_kind() -> Descriptor:
    """The message's descriptor, in its own pool."""
    file = FileDescriptorProto(name="kinds.proto", package="kinds", syntax="proto3")
    file.dependency.extend(["google/protobuf/timestamp.proto", "google/protobuf/duration.proto"])
    color = file.enum_type.add(name="Color")
    for number, value in enumerate(("COLOR_UNSPECIFIED", "COLOR_RED", "COLOR_BLUE")):
        color.value.add(name=value, number=number)
    message = file.message_type.add(name="EveryKind")
    _add_scalars(message)
    _add_messages(message)
    _add_maps(message)
    _add_choice(message)
    pool = DescriptorPool()
    for needed in (timestamp_pb2, duration_pb2):
        dependency = FileDescriptorProto()
        needed.DESCRIPTOR.CopyToProto(dependency)
        pool.Add(dependency)
    pool.Add(file)
    return pool.FindMessageTypeByName("kinds.EveryKind")


def _add_scalars(message: DescriptorProto) -> None:
    for name in SCALARS:
        kind = FieldDescriptorProto.Type.Value(f"TYPE_{name.upper()}")
        _add(message, f"one_{name}", kind)
        _add(message, f"many_{name}", kind, repeated=True)
        _add_optional(message, f"maybe_{name}", kind)
    _add(message, "one_color", FieldDescriptorProto.TYPE_ENUM, ".kinds.Color")
    _add(message, "many_color", FieldDescriptorProto.TYPE_ENUM, ".kinds.Color", repeated=True)


def _add_messages(message: DescriptorProto) -> None:
    for name, well_known in (("timestamp", "Timestamp"), ("duration", "Duration")):
        full_name = f".google.protobuf.{well_known}"
        _add(message, f"one_{name}", FieldDescriptorProto.TYPE_MESSAGE, full_name)
        _add(message, f"many_{name}", FieldDescriptorProto.TYPE_MESSAGE, full_name, repeated=True)
    _add(message, "child", FieldDescriptorProto.TYPE_MESSAGE, ".kinds.EveryKind")
    _add(message, "children", FieldDescriptorProto.TYPE_MESSAGE, ".kinds.EveryKind", repeated=True)


def _add_maps(message: DescriptorProto) -> None:
    _add_map(message, "texts", FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.TYPE_STRING)
    _add_map(message, "counts", FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_INT64)
    _add_map(message, "flags", FieldDescriptorProto.TYPE_BOOL, FieldDescriptorProto.TYPE_DOUBLE)
    _add_map(
        *(message, "moments", FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_MESSAGE),
        ".google.protobuf.Timestamp",
    )
    _add_map(
        *(message, "family", FieldDescriptorProto.TYPE_UINT32, FieldDescriptorProto.TYPE_MESSAGE),
        ".kinds.EveryKind",
    )


def _add_choice(message: DescriptorProto) -> None:
    """A oneof of two fields."""
    # Its index must be lower than those of the optional fields, which protoc adds last.
    message.oneof_decl.insert(0, message.oneof_decl.add(name="choice"))
    del message.oneof_decl[-1]
    for field in message.field:
        if field.HasField("oneof_index"):
            field.oneof_index += 1
    for name in ("chosen_text", "chosen_word"):
        _add(message, name, FieldDescriptorProto.TYPE_STRING)
        message.field[-1].oneof_index = 0


def _add(
    message: DescriptorProto,
    name: str,
    kind: FieldDescriptorProto.Type.ValueType,
    type_name: str = "",
    *,
    repeated: bool = False,
) -> None:
    message.field.add(
        name=name,
        number=len(message.field) + 1,
        type=kind,
        type_name=type_name or None,
        label=FieldDescriptorProto.LABEL_REPEATED
        if repeated
        else FieldDescriptorProto.LABEL_OPTIONAL,
    )


def _add_optional(
    message: DescriptorProto, name: str, kind: FieldDescriptorProto.Type.ValueType
) -> None:
    _add(message, name, kind)
    message.field[-1].proto3_optional = True
    message.field[-1].oneof_index = len(message.oneof_decl)
    message.oneof_decl.add(name=f"_{name}")


def _add_map(
    message: DescriptorProto,
    name: str,
    key: FieldDescriptorProto.Type.ValueType,
    value: FieldDescriptorProto.Type.ValueType,
    type_name: str = "",
) -> None:
    entry = message.nested_type.add(name=f"{name.title()}Entry")
    entry.options.map_entry = True
    _add(entry, "key", key)
    _add(entry, "value", value, type_name)
    full_name = f".kinds.EveryKind.{entry.name}"
    _add(message, name, FieldDescriptorProto.TYPE_MESSAGE, full_name, repeated=True)
