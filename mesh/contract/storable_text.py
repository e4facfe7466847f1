"""Text that PostgreSQL can store: any without the character NUL.

Every request is checked once, before its method runs, so no method and no statement has to. The
check costs a scan of the bytes; only a request with a zero byte somewhere is searched.
"""

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from mesh.errors import FieldViolation, InvalidArgument

NUL = "\0"
_ZERO = NUL.encode()
MOST_NAMED = 20
"""How many fields a refusal names."""


def storable(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A reader of messages that also checks their text."""

    def read_storable(encoded: bytes) -> Any:
        """Raises DecodeError, and InvalidArgument as `check_storable` does."""
        message = read(encoded)
        if _ZERO in encoded:
            check_storable(message)
        return message

    return read_storable


def check_storable(message: Message) -> None:
    """Raises InvalidArgument naming the strings of the message that contain NUL, at any depth."""
    paths = dict.fromkeys(_paths_with_nul(message))
    if paths:
        raise InvalidArgument.of_fields(
            *(
                FieldViolation(path, "must not contain the character NUL")
                for path in tuple(paths)[:MOST_NAMED]
            )
        )


def _paths_with_nul(message: Message, prefix: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        for each in _values(field, value):
            if isinstance(each, Message):
                yield from _paths_with_nul(each, f"{path}.")
            elif isinstance(each, str) and NUL in each:
                yield path


def _values(field: FieldDescriptor, value: Any) -> Iterator[object]:
    """The single values of a field: of a list its items, of a map its keys and values."""
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if is_map:
        yield from value.keys()
        yield from value.values()
    elif field.is_repeated:
        yield from value
    else:
        yield value
