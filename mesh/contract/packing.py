"""Packs messages into google.protobuf.Any."""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

TYPE_PREFIX = "type.googleapis.com/"


def pack(message: Message, into: AnyMessage) -> None:
    """As `Any.Pack`, which takes twice as long."""
    into.type_url = TYPE_PREFIX + message.DESCRIPTOR.full_name
    into.value = message.SerializeToString()
