"""Request fields that come from the raw body or from headers, and never from JSON or the query.

A field of type google.api.HttpBody that `body:` names in the method's google.api.http rule
receives the body unchanged, with any media type. A string field with the option
mesh.v1.http_header receives the first of its headers that is present. Nothing else sets such a
field; it is empty if its part is missing.
"""

import re
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from gateway_http.errors import UnsupportedMediaType
from gateway_http.exchange import Headers
from gateway_http.transcoding.contracts import (
    HTTP_BODY,
    Binding,
    Operation,
    UnsupportedContract,
    header_names_of,
)
from mesh.errors import InvalidArgument

LONGEST_HEADER = 4096

_TEXT = re.compile(rf"[\x20-\x7e]{{0,{LONGEST_HEADER}}}")


class RawParts:
    """Sets the raw fields in the requests of one route of an operation."""

    def __init__(self, operation: Operation, binding: Binding) -> None:
        """Raises UnsupportedContract when a field cannot hold its part."""
        self._raw_body = binding.raw_body
        self._headers: list[tuple[str, tuple[str, ...]]] = []
        if binding.raw_body and binding.raw_body not in operation.request.fields_by_name:
            raise UnsupportedContract(f"{operation.path}: body names no field of the request")
        for field in operation.request.fields:
            _check_body_field(field, binding)
            if names := header_names_of(field):
                _check_header_field(field, names)
                self._headers.append((field.name, names))

    @property
    def has_body(self) -> bool:
        """Whether a field receives the raw body."""
        return bool(self._raw_body)

    def put(self, message: Any, body: bytes, headers: Headers) -> None:
        """Sets the raw fields of `message`.

        Raises InvalidArgument naming a malformed header, and UnsupportedMediaType for a body
        with a content encoding, because HttpBody has no field for the encoding.
        """
        for name, header_names in self._headers:
            setattr(message, name, _first(headers, header_names))
        if self._raw_body:
            if headers.get("content-encoding", "identity") != "identity":
                raise UnsupportedMediaType
            field = getattr(message, self._raw_body)
            field.content_type = _first(headers, ("content-type",))
            field.data = body


def _first(headers: Headers, names: tuple[str, ...]) -> str:
    for name in names:
        if name in headers:
            # A value that is not ASCII counts as present, and is refused.
            given = headers.get(name)
            if given is None or not _TEXT.fullmatch(given):
                raise InvalidArgument.of_field(
                    name, f"must be at most {LONGEST_HEADER} visible ASCII characters and spaces"
                )
            return given
    return ""


def _check_body_field(field: FieldDescriptor, binding: Binding) -> None:
    message = field.message_type
    is_raw = message is not None and message.full_name == HTTP_BODY and not field.is_repeated
    if is_raw != (field.name == binding.raw_body):
        raise UnsupportedContract(
            f'{field.full_name}: a body that is not "*" names the one field of type {HTTP_BODY}'
        )


def _check_header_field(field: FieldDescriptor, names: tuple[str, ...]) -> None:
    if field.type != field.TYPE_STRING or field.is_repeated:
        raise UnsupportedContract(f"{field.full_name}: a field for a header must be a string")
    if any(name != name.lower() for name in names):
        raise UnsupportedContract(f"{field.full_name}: header names must be lower-case")
