"""Random requests for a method, made from its descriptor.

Each request is one of: a message with boundary values of its types and of usual data; the bytes
of such a message, truncated, doubled or with flipped bits; random bytes. The same seed gives the
same requests.
"""

from collections.abc import Callable, Sequence
from random import Random

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

MAX_DEPTH = 4
MAX_ITEMS = 3

TEXTS = (
    *("", " ", "0", "1", "-1", "standard", "beginner", "lamplighter", "credit_card", "card_slow"),
    *("\0", "a\0b", "\n", "'; DROP TABLE player; --", "%s", "{}", "../../etc/passwd"),
    *("\ufeff", "\u202e", "é" * 64, "💎" * 20, "x" * 300, "x" * 5000),
    *("7f1f4b0e-6a3b-4c53-9a38-0d1c6d1f2a10", "00000000-0000-0000-0000-000000000000"),
    *("coordinator:1:abc", ":::", "127.0.0.1:1", "[::1]:70000", "a@b.test", "NaN"),
)
INTEGERS = (0, 1, -1, 2, 10, 100, 127, 128, 2**15, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63))
BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
DOUBLES = (0.0, -0.0, 1e308, -1e308, float("nan"), float("inf"), 5e-324)


class Requests:
    """Generates serialized requests by the type of the message."""

    def __init__(self, randomness: Random, known: Sequence[str] = ()) -> None:
        """`known` are texts that are valid on this mesh, such as ids and usernames."""
        self._randomness = randomness
        self._texts = (*TEXTS, *known)

    def of(self, message: Descriptor) -> bytes:
        """The next request of that type."""
        roll = self._randomness.random()
        if roll < 0.05:
            return self._randomness.randbytes(self._randomness.randrange(200))
        octets = self._message(message, MAX_DEPTH).SerializePartialToString()
        return self._damaged(octets) if roll < 0.3 else octets

    def _message(self, descriptor: Descriptor, depth: int) -> Message:
        message: Message = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            if self._randomness.random() < 0.75:
                self._fill(message, field, depth)
        return message

    def _fill(self, message: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None:
            self._fill_message(message, field, field.message_type, depth)
        elif field.is_repeated:
            values = [self._scalar(field) for _ in range(self._randomness.randrange(MAX_ITEMS))]
            getattr(message, field.name).extend(values)
        else:
            setattr(message, field.name, self._scalar(field))

    def _fill_message(
        self, message: Message, field: FieldDescriptor, kind: Descriptor, depth: int
    ) -> None:
        if depth == 0:
            return
        if kind.GetOptions().map_entry:
            for _ in range(self._randomness.randrange(MAX_ITEMS)):
                getattr(message, field.name)[self._text()] = self._text()
        elif field.is_repeated:
            for _ in range(self._randomness.randrange(MAX_ITEMS)):
                getattr(message, field.name).add().CopyFrom(self._message(kind, depth - 1))
        else:
            getattr(message, field.name).CopyFrom(self._message(kind, depth - 1))

    def _scalar(self, field: FieldDescriptor) -> object:
        choose: dict[int, Callable[[], object]] = {
            FieldDescriptor.CPPTYPE_STRING: lambda: self._string(field),
            FieldDescriptor.CPPTYPE_BOOL: lambda: self._randomness.random() < 0.5,
            FieldDescriptor.CPPTYPE_DOUBLE: lambda: self._randomness.choice(DOUBLES),
            FieldDescriptor.CPPTYPE_FLOAT: lambda: self._randomness.choice(DOUBLES[:2]),
            FieldDescriptor.CPPTYPE_ENUM: lambda: self._randomness.choice((0, 1, 2, 99)),
        }
        made = choose.get(field.cpp_type)
        return made() if made is not None else self._integer(*BOUNDS[field.cpp_type])

    def _string(self, field: FieldDescriptor) -> str | bytes:
        text = self._text()
        return text if field.type == field.TYPE_STRING else text.encode()

    def _text(self) -> str:
        if self._randomness.random() < 0.2:
            length = self._randomness.randrange(40)
            return "".join(chr(self._randomness.randrange(1, 0xD7FF)) for _ in range(length))
        return self._randomness.choice(self._texts)

    def _integer(self, lowest: int, highest: int) -> int:
        if self._randomness.random() < 0.3:
            return self._randomness.randint(lowest, highest)
        return min(max(self._randomness.choice(INTEGERS), lowest), highest)

    def _damaged(self, octets: bytes) -> bytes:
        damaged = bytearray(octets)
        for _ in range(self._randomness.randrange(1, 4)):
            if not damaged:
                break
            position = self._randomness.randrange(len(damaged))
            how = self._randomness.randrange(3)
            if how == 0:
                del damaged[position:]
            elif how == 1:
                damaged[position] ^= 1 << self._randomness.randrange(8)
            else:
                damaged[position:position] = damaged[: position + 1]
        return bytes(damaged[:100_000])
