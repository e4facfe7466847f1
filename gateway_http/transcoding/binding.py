"""From the parts of an HTTP request to the request message of a method.

Source: google.api.http (AIP-127). Path variables set their fields; a body or query with another
value for such a field is refused. The other fields come from the body, or from the query if the
route has no body. A request with an `idempotency_key` field also reads it from the
Idempotency-Key header. Without either it gets a new key, so that the call may be retried on
another instance.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway_http.transcoding.contracts import Binding, Operation, UnsupportedContract
from gateway_http.transcoding.declared_rules import DeclaredRules
from gateway_http.transcoding.decoding import WELL_KNOWN, Decoder, FieldReader
from gateway_http.transcoding.documents import parse_object
from gateway_http.transcoding.json_values import MOST_FAULTS, Fault, Refused, text_of_boolean
from mesh.contract.idempotency import IDEMPOTENCY_KEY, is_fit_key
from mesh.errors import FieldViolation, InvalidArgument

MOST_PARAMETERS = 100
_NUMBERS = re.compile(r"[0-9]{1,10}(?:,[0-9]{1,10})+")
"""A list with commas. A query repeats its parameter instead."""


class RequestBinding:
    """Builds the request messages of one operation from the requests of one of its routes."""

    def __init__(
        self, operation: Operation, binding: Binding, decoder: Decoder, new_id: Callable[[], str]
    ) -> None:
        """Raises UnsupportedContract when a query would have to carry a message field."""
        self.takes_body = binding.takes_body
        self._decoder = decoder
        self._rules = DeclaredRules(operation.request, decoder)
        self._new_id = new_id
        fields = operation.request.fields_by_name
        self.takes_key = has_idempotency_key(operation.request)
        self._idempotency_key = decoder.by_key[IDEMPOTENCY_KEY] if self.takes_key else None
        self._repeated = {field.name for field in fields.values() if field.is_repeated}
        self._booleans = {field.name for field in fields.values() if field.type == field.TYPE_BOOL}
        if not binding.takes_body:
            for name, field in fields.items():
                if name in decoder.by_key:
                    _check_fits_query(field)

    def bind(
        self, variables: Mapping[str, str], query: str, body: bytes, idempotency_key: str | None
    ) -> Any:
        """The request message. `query` is the URL's query, still encoded.

        Raises InvalidArgument naming every wrong field as the client wrote it.
        """
        faults: list[Fault] = []
        if self.takes_body:
            document = parse_object(body)
            if query:
                name = query.split("&")[0].split("=")[0]
                faults.append(
                    Fault(name, "must be in the body: this route takes no query parameters")
                )
        else:
            document = self._document_of(query, faults)
        for name, text in variables.items():
            self._take_variable(document, self._decoder.by_key[name], text, faults)
        self._take_idempotency_key(document, idempotency_key, faults)
        try:
            message = self._decoder.decode(document)
        except Refused as refused:
            faults += refused.faults
        if faults:
            faults += self._rules.faults(document, tuple(faults))
            distinct = tuple(dict.fromkeys(faults))[:MOST_FAULTS]
            raise InvalidArgument.of_fields(
                *(FieldViolation(fault.path[:100], fault.description) for fault in distinct)
            )
        return message

    def _document_of(self, query: str, faults: list[Fault]) -> dict[str, Any]:
        """The object that a body with these parameters would hold. Adds to `faults`."""
        if not query:
            return {}
        try:
            parameters = parse_qsl(
                query, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
            )
        except ValueError:
            raise InvalidArgument(
                f"The query must be UTF-8 with at most {MOST_PARAMETERS} parameters.",
                reason="MALFORMED_QUERY",
            ) from None
        document: dict[str, Any] = {}
        for key, text in parameters:
            field = self._decoder.by_key.get(key)
            name = field.name if field is not None else key
            value = text_of_boolean(text) if name in self._booleans else text
            if name in self._repeated:
                if _NUMBERS.fullmatch(text):
                    example = "&".join(f"{key}={each}" for each in text.split(",")[:3])
                    description = f"must be given once for each value, as in {example}"
                    faults.append(Fault(key, description))
                else:
                    document.setdefault(key, []).append(value)
            elif key in document:
                faults.append(Fault(key, "must be given once"))
            else:
                document[key] = value
        return document

    def _take_variable(
        self, document: dict[str, Any], field: FieldReader, text: str, faults: list[Fault]
    ) -> None:
        value = text_of_boolean(text) if field.name in self._booleans else text
        for key, given in _pop(document, field, faults):
            try:
                if field.read(given) != field.read(value):
                    raise Refused("must be the same as in the path, or left out")
            except Refused as refused:
                faults += refused.within(key)
        document[field.json_name] = value

    def _take_idempotency_key(
        self, document: dict[str, Any], idempotency_key: str | None, faults: list[Fault]
    ) -> None:
        field = self._idempotency_key
        if field is None:
            return
        given = ""
        for key, value in _pop(document, field, faults):
            try:
                given = str(field.read(value))
                if given and not is_fit_key(given):
                    raise Refused("must be 1 to 128 visible ASCII characters without spaces")
            except Refused as refused:
                faults += refused.within(key)
        if given and idempotency_key is not None and given != idempotency_key:
            description = f"must be the same as {field.json_name}, or left out"
            faults.append(Fault("Idempotency-Key", description))
        document[field.json_name] = idempotency_key or given or self._new_id()


def has_idempotency_key(request: Descriptor) -> bool:
    """Whether requests of this type carry a client's key for safe repeats (AIP-155)."""
    field = request.fields_by_name.get(IDEMPOTENCY_KEY)
    return field is not None and field.type == field.TYPE_STRING and not field.is_repeated


def _pop(
    document: dict[str, Any], field: FieldReader, faults: list[Fault]
) -> Iterator[tuple[str, Any]]:
    """Removes a field from the document. Gives the name that it had there and its value, unless
    it is missing or null. Adds to `faults` when it has both names."""
    if field.name not in document and field.json_name not in document:
        return
    keys = {field.name, field.json_name} & document.keys()
    if len(keys) > 1:
        faults.append(Fault(field.name, "must be given once"))
    for key in sorted(keys):
        value = document.pop(key)
        if value is not None and len(keys) == 1:
            yield key, value


def _check_fits_query(field: FieldDescriptor) -> None:
    message = field.message_type
    if message is not None and message.full_name not in WELL_KNOWN:
        raise UnsupportedContract(f"{field.full_name}: a query cannot hold a message; use a body")
