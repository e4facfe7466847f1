"""The rules and examples of request fields (mesh.v1.rules and mesh.v1.example in the protos) as
JSON Schema keywords.

This module only describes the rules. The services enforce them.
"""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from protos.mesh.v1 import documents_pb2, rules_pb2

NO_NUL = "^[^\\u0000]*$"
"""Text must not contain NUL, because PostgreSQL cannot store it."""


def is_required(field: FieldDescriptor) -> bool:
    """Whether a request without the field is refused."""
    return _rules_of(field).required


def example_of(field: FieldDescriptor) -> int | str | None:
    """A value of the field that works when it is sent; None if the proto has none."""
    written: str = field.GetOptions().Extensions[documents_pb2.example]
    if not written:
        return None
    return written if field.type == field.TYPE_STRING else int(written)


def narrowed(field: FieldDescriptor, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field's type, narrowed by the field's rules."""
    rules = _rules_of(field)
    if schema.get("type") == "array":
        bound = {"maxItems": rules.max_items} if rules.max_items else {}
        return {**schema, "items": _narrowed(rules, schema["items"]), **bound}
    return _narrowed(rules, schema)


def _narrowed(rules: rules_pb2.FieldRules, schema: dict[str, Any]) -> dict[str, Any]:
    narrow = dict(schema)
    if rules.min_length:
        narrow["minLength"] = rules.min_length
    if rules.max_length:
        narrow["maxLength"] = rules.max_length
    if rules.maximum:
        narrow |= {"minimum": rules.minimum, "maximum": rules.maximum}
    if rules.one_of:
        narrow["enum"] = list(rules.one_of)
    if rules.format:
        narrow["format"] = rules.format
    if schema == {"type": "string"} and not rules.format:
        narrow["pattern"] = rules.pattern or NO_NUL
    return narrow


def _rules_of(field: FieldDescriptor) -> rules_pb2.FieldRules:
    return field.GetOptions().Extensions[rules_pb2.rules]
