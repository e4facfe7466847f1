"""The answer of a call, in REST's shape for every client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_INTEGERS = {
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_SINT64,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
}
_ANY = "google.protobuf.Any"
_FRACTIONS = {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or an error.

    `code` is the name of the gRPC code. It is OK for a success; then `reason`, `message` and
    `fields` are empty. `fields` are the fields of the request that an error names. `body` is the
    JSON as REST writes it. With every client, an error's body has message, code, reason and
    status, and idempotencyKey if it names one. `raw` has the received bytes, to compare two
    answers.
    """

    code: str
    reason: str
    message: str
    fields: tuple[str, ...]
    body: dict[str, Any]
    raw: bytes

    @property
    def ok(self) -> bool:
        return self.code == "OK"


def good(body: dict[str, Any], raw: bytes) -> Answer:
    """A successful answer."""
    return Answer("OK", "", "", (), body, raw)


def refused(
    code: str, message: str, details: list[dict[str, Any]], fields: tuple[str, ...], raw: bytes
) -> Answer:
    """An error of gRPC; `details` has its ErrorInfo as JSON, or is empty."""
    reason = details[0].get("reason", "") if details else ""
    body = {"status": "error", "message": message, "code": code, "reason": reason}
    key = details[0].get("metadata", {}).get("idempotency_key") if details else None
    if key is not None:
        body["idempotencyKey"] = key
    return Answer(code, reason, message, fields, body, raw)


def as_rest(descriptor: Descriptor, document: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a message with its numbers as REST writes them.

    proto3's own mapping writes 64-bit integers as strings, and grpcurl writes 6.0 as 6.
    """
    fields = {field.json_name: field for field in descriptor.fields}
    return {name: _value(fields[name], value) for name, value in document.items()}


def _value(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, list):
        return [_value(field, item) for item in value]
    if field.type in _INTEGERS:
        return int(value)
    if field.type in _FRACTIONS:
        return float(value)
    message = field.message_type
    if message is not None and isinstance(value, dict) and message.full_name != _ANY:
        return as_rest(message, value)
    return value
