"""JSON Schemas (draft 2020-12) of protobuf messages, as OpenAPI 3.1 embeds them.

A schema describes what the codecs do. Fields that an answer always has are required. A request
has no other fields than the listed ones, each within its declared rules. An idempotency key
appears only as the Idempotency-Key header. Descriptions are the comments of the protos.
"""

from collections.abc import Collection, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway_http.describing.field_rules import example_of, is_required, narrowed
from gateway_http.transcoding.contracts import Contracts, Operation, is_raw_part
from gateway_http.transcoding.raw_parts import LONGEST_HEADER
from mesh.contract.idempotency import IDEMPOTENCY_KEY

_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {
        "type": "string",
        "format": "date-time",
        "examples": ["2026-01-31T12:00:00Z"],
    },
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
}

_INT32 = {"type": "integer", "format": "int32"}
_INT64 = {"type": "integer", "format": "int64"}
_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT32: {**_INT64, "minimum": 0},
    FieldDescriptor.TYPE_FIXED32: {**_INT64, "minimum": 0},
    FieldDescriptor.TYPE_UINT64: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_FIXED64: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}


class Schemas:
    """The schemas of all messages in requests and answers."""

    def __init__(self, contracts: Contracts) -> None:
        self._comments = contracts.comments
        self._given: set[str] = set()
        self.components: dict[str, dict[str, Any]] = {}
        for operation in contracts.operations:
            self._given.update(each.full_name for each in _reachable(operation.response))
        for operation in contracts.operations:
            for message in (*_reachable(operation.request), *_reachable(operation.response)):
                self.components[message.full_name] = self._message(message)

    def comment(self, full_name: str) -> str:
        """The proto's comment on an element."""
        return self._comments.get(full_name, "")

    def reference(self, message: Descriptor) -> dict[str, Any]:
        """A `$ref` to a message's schema."""
        return {"$ref": f"#/components/schemas/{message.full_name}"}

    def parameter(self, field: FieldDescriptor, place: str) -> dict[str, Any]:
        """A field in the path or the query; `place` is "path" or "query"."""
        example = example_of(field)
        return {
            "name": field.json_name,
            "in": place,
            "required": place == "path" or is_required(field),
            "description": self.comment(field.full_name),
            "schema": narrowed(field, self._value(field)),
            **({} if example is None else {"example": example}),
        }

    def header(self, field: FieldDescriptor, name: str) -> dict[str, Any]:
        """A header that a field comes from."""
        return {
            "name": name,
            "in": "header",
            "required": False,
            "description": self.comment(field.full_name),
            "schema": {"type": "string", "maxLength": LONGEST_HEADER, "pattern": "^[ -~]*$"},
        }

    def raw_body(self, field: FieldDescriptor) -> dict[str, Any]:
        """A body that is passed on unread."""
        return {
            "description": self.comment(field.full_name),
            "required": True,
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        }

    def body(self, operation: Operation, variables: Collection[str]) -> dict[str, Any]:
        """The schema of a body without the fields in `variables`, which the path sets."""
        if not variables:
            return self.reference(operation.request)
        return self._message(operation.request, left_out=variables)

    def _message(self, message: Descriptor, left_out: Collection[str] = ()) -> dict[str, Any]:
        is_request = message.full_name not in self._given
        fields = [
            field
            for field in message.fields
            if field.name not in left_out
            and not is_raw_part(field)
            and not (is_request and field.name == IDEMPOTENCY_KEY)
        ]
        schema: dict[str, Any] = {
            "type": "object",
            "description": self.comment(message.full_name),
            "properties": {
                field.json_name: {
                    **(_of_request(field, value) if is_request else value),
                    "description": self.comment(field.full_name),
                }
                for field, value in ((field, self._value(field)) for field in fields)
            },
        }
        if is_request:
            schema["additionalProperties"] = False
        is_there = is_required if is_request else _is_always_given
        if required := [field.json_name for field in fields if is_there(field)]:
            schema["required"] = required
        return schema

    def _value(self, field: FieldDescriptor) -> dict[str, Any]:
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            value = self._single(message.fields_by_name["value"])
            return {"type": "object", "additionalProperties": value}
        one = self._single(field)
        return {"type": "array", "items": one} if field.is_repeated else one

    def _single(self, field: FieldDescriptor) -> dict[str, Any]:
        message = field.message_type
        if message is not None:
            return dict(_WELL_KNOWN.get(message.full_name) or self.reference(message))
        enum = field.enum_type
        if enum is not None:
            return {"type": "string", "enum": [value.name for value in enum.values]}
        return dict(_SCALARS[field.type])


def _of_request(field: FieldDescriptor, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a request's field with its rules and its example."""
    example = example_of(field)
    return {**narrowed(field, schema), **({} if example is None else {"examples": [example]})}


def _is_always_given(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated or not field.has_presence)


def _reachable(message: Descriptor) -> Iterator[Descriptor]:
    """A message and all messages in it, each once, without those that have a special form."""
    seen: dict[str, Descriptor] = {}
    waiting = [message]
    while waiting:
        each = waiting.pop()
        if each.full_name in seen or each.full_name in _WELL_KNOWN:
            continue
        seen[each.full_name] = each
        waiting.extend(
            field.message_type
            for field in each.fields
            if field.message_type and not is_raw_part(field)
        )
    yield from (each for each in seen.values() if not each.GetOptions().map_entry)
