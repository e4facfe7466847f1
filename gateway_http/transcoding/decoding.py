"""From a JSON object to a protobuf message, compiled once for each message type.

Guarantees: a value that does not fit the proto's type is refused, with the path of the field.
Unknown fields and fields given twice are refused. null means the default. A field has its JSON
name or its proto name. Recursive messages are read as deep as the document goes;
`gateway_http.transcoding.documents` bounds that depth. `gateway_http.transcoding.raw_parts`
reads the raw parts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway_http.transcoding.contracts import UnsupportedContract, is_raw_part
from gateway_http.transcoding.json_values import Fault, Reader, Refused, scalar_reader
from gateway_http.transcoding.timestamps import read_duration, read_timestamp

WELL_KNOWN: dict[str, Reader] = {
    "google.protobuf.Timestamp": read_timestamp,
    "google.protobuf.Duration": read_duration,
}


@dataclass(frozen=True, slots=True)
class FieldReader:
    """How one field is read; `oneof` names the oneof that it belongs to, if any."""

    name: str
    json_name: str
    oneof: str | None
    read: Reader


class Decoder:
    """Reads one type of message. `by_key` has each field under both of its names."""

    __slots__ = ("_by_letters", "_has_oneofs", "_message_class", "by_key")

    def __init__(self, descriptor: Descriptor) -> None:
        self._message_class: Callable[..., Message] = GetMessageClass(descriptor)
        self.by_key: dict[str, FieldReader] = {}
        self._by_letters: dict[str, str] = {}
        self._has_oneofs = False

    def add(self, field: FieldReader) -> None:
        """Adds a field; all are added before the first `decode`."""
        self.by_key[field.name] = self.by_key[field.json_name] = field
        self._by_letters[_letters(field.json_name)] = field.json_name
        self._has_oneofs = self._has_oneofs or field.oneof is not None

    def decode(self, value: object) -> Any:
        """The message for a JSON object. Raises Refused for all fields that are wrong."""
        if value.__class__ is not dict:
            raise Refused("must be an object")
        values: dict[str, object] = {}
        document: dict[str, object] = value
        faults: list[Fault] = []
        for key, item in document.items():
            field = self.by_key.get(key)
            if field is None:
                faults.append(Fault(key, self._unknown(key)))
            elif item is None:
                continue
            elif field.name in values:
                faults.append(Fault(key, "must be given once"))
            else:
                try:
                    values[field.name] = field.read(item)
                except Refused as refused:
                    faults += refused.within(key)
        if self._has_oneofs:
            faults += self._oneof_faults(values)
        if faults:
            raise Refused.of(faults)
        return self._message_class(**values)

    def _unknown(self, key: str) -> str:
        meant = self._by_letters.get(_letters(key))
        hint = f"; {meant} is" if meant is not None else ""
        return f"is not a field of this request{hint}"

    def _oneof_faults(self, values: dict[str, object]) -> Iterator[Fault]:
        chosen: set[str] = set()
        for name in values:
            oneof = self.by_key[name].oneof
            if oneof is not None and oneof in chosen:
                description = f"must be the only one given of {oneof}"
                yield Fault(self.by_key[name].json_name, description)
            if oneof is not None:
                chosen.add(oneof)


def _letters(key: str) -> str:
    """The key as it is compared with misspelt ones: case and separators do not count."""
    return key.lower().replace("_", "").replace("-", "")


class Decoders:
    """Compiles decoders, each message type once."""

    def __init__(self) -> None:
        self._decoders: dict[str, Decoder] = {}

    def of(self, descriptor: Descriptor) -> Decoder:
        """The decoder of a message type.

        Raises UnsupportedContract for well-known types whose special JSON form has no reader.
        """
        known = self._decoders.get(descriptor.full_name)
        if known is not None:
            return known
        if descriptor.file.package == "google.protobuf":
            raise UnsupportedContract(f"{descriptor.full_name} has no JSON form here")
        decoder = self._decoders[descriptor.full_name] = Decoder(descriptor)
        for field in descriptor.fields:
            if not is_raw_part(field):
                decoder.add(self._field(field))
        return decoder

    def _field(self, field: FieldDescriptor) -> FieldReader:
        oneof = field.containing_oneof
        # An optional field has a synthetic oneof, which does not count.
        is_choice = oneof is not None and len(oneof.fields) > 1
        return FieldReader(
            name=field.name,
            json_name=field.json_name,
            oneof=oneof.name if oneof is not None and is_choice else None,
            read=self._reader(field),
        )

    def _reader(self, field: FieldDescriptor) -> Reader:
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            return self._map_reader(message)
        one = self._single(field)
        return _list_reader(one) if field.is_repeated else one

    def _single(self, field: FieldDescriptor) -> Reader:
        message = field.message_type
        if message is None:
            return scalar_reader(field)
        return WELL_KNOWN.get(message.full_name) or self.of(message).decode

    def _map_reader(self, entry: Descriptor) -> Reader:
        key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
        read_key, read_value = scalar_reader(key_field), self._single(value_field)
        spells_boolean = key_field.type == FieldDescriptor.TYPE_BOOL

        def read(value: object) -> dict[object, object]:
            if value.__class__ is not dict:
                raise Refused("must be an object")
            result: dict[object, object] = {}
            faults: list[Fault] = []
            for text, item in value.items():
                try:
                    key = _boolean_key(text) if spells_boolean else read_key(text)
                    if key in result:
                        raise Refused("must be given once")
                    result[key] = read_value(item)
                except Refused as refused:
                    faults += refused.within(text)
            if faults:
                raise Refused.of(faults)
            return result

        return read


def _list_reader(one: Reader) -> Reader:
    def read(value: object) -> list[object]:
        if value.__class__ is not list:
            raise Refused("must be an array")
        result = []
        faults: list[Fault] = []
        for index, item in enumerate(value):
            try:
                result.append(one(item))
            except Refused as refused:
                faults += refused.within(f"[{index}]")
        if faults:
            raise Refused.of(faults)
        return result

    return read


def _boolean_key(text: str) -> bool:
    if text not in ("true", "false"):
        raise Refused("must be true or false")
    return text == "true"
