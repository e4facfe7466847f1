"""The declared rules of a request's fields (mesh.v1.rules), for a request that is refused anyway.

The services enforce the rules. But a request with a value that no field can hold does not reach
them. So the gateway names the fields that break a rule beside those, and a client learns of every
wrong field at once. A rule that only the service can check is left to the service.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway_http.transcoding.decoding import Decoder
from gateway_http.transcoding.json_values import Fault, Refused
from mesh.contract.idempotency import IDEMPOTENCY_KEY
from protos.mesh.v1 import rules_pb2

_FORMATS = {
    "email": (re.compile(r"[^@\s]+@[^@\s]+"), "must be an email address"),
    "uuid": (
        re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
        "must be a UUID, such as 7f1f4b0e-6a3b-4c53-9a38-0d1c6d1f2a10",
    ),
}
_BASE = re.compile(r"[^.\[]*")


class DeclaredRules:
    """The rules of one type of request."""

    def __init__(self, request: Descriptor, decoder: Decoder) -> None:
        """`decoder` reads the request."""
        self._decoder = decoder
        self._fields = [
            field
            for field in request.fields
            if field.name in decoder.by_key and field.name != IDEMPOTENCY_KEY
        ]

    def faults(self, document: Mapping[str, Any], known: Collection[Fault]) -> Iterator[Fault]:
        """A fault for each field that breaks its rule, and is not among the known ones."""
        named = {_base(fault.path) for fault in known}
        for field in self._fields:
            names = {field.json_name, field.name}
            if names & named:
                continue
            key = next((name for name in names if document.get(name) is not None), None)
            description = _missing(field) if key is None else self._broken(field, document[key])
            if description:
                yield Fault(key or field.json_name, description)

    def _broken(self, field: FieldDescriptor, value: object) -> str:
        """What the value should be; empty if it is right."""
        try:
            read = self._decoder.by_key[field.name].read(value)
        except Refused:  # a fault of another kind, which the decoder names
            return ""
        rules = _rules_of(field)
        broken = self._broken_rule(field, rules, read)
        return f"must be {rules.words}" if broken and rules.words else broken

    def _broken_rule(self, field: FieldDescriptor, rules: rules_pb2.FieldRules, read: Any) -> str:
        if field.is_repeated:
            is_too_long = bool(rules.max_items) and len(read) > rules.max_items
            broken = (text for each in read if (text := _check(rules, each)))
            return f"must be at most {rules.max_items}" if is_too_long else next(broken, "")
        return _check(rules, read)


def _missing(field: FieldDescriptor) -> str:
    return "must be given" if _rules_of(field).required else ""


def _check(rules: rules_pb2.FieldRules, value: object) -> str:
    if isinstance(value, str):
        return _check_text(rules, value)
    return _check_number(rules, value) if isinstance(value, int) else ""


def _check_text(rules: rules_pb2.FieldRules, text: str) -> str:
    longest = rules.max_length
    if longest and not rules.min_length <= len(text) <= longest:
        return f"must be {rules.min_length} to {longest} characters"
    if rules.pattern and not re.search(rules.pattern, text):
        return f"must match {rules.pattern}"
    form = _FORMATS.get(rules.format)
    return form[1] if form is not None and not form[0].fullmatch(text) else ""


def _check_number(rules: rules_pb2.FieldRules, number: int) -> str:
    if rules.maximum and not rules.minimum <= number <= rules.maximum:
        return f"must be {rules.minimum} to {rules.maximum}"
    if rules.one_of and number not in rules.one_of:
        return f"must be {' or '.join(str(each) for each in rules.one_of)}"
    return ""


def _base(path: str) -> str:
    match = _BASE.match(path)
    return match[0] if match is not None else ""


def _rules_of(field: FieldDescriptor) -> rules_pb2.FieldRules:
    return field.GetOptions().Extensions[rules_pb2.rules]
