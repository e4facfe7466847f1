"""The methods that a server offers, each registered once.

A method is its name, its decoder, its function and its encoder, all found by
way of the proto's descriptor. Whatever carries calls to a server leads here.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from mesh.work import UNKNOWN, Terms, terms_of
from protos.mesh.v1 import options_pb2

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class Access(IntEnum):
    """Who may call a method: mesh.v1.Access."""

    NOBODY = options_pb2.ACCESS_UNSPECIFIED
    PUBLIC = options_pb2.ACCESS_PUBLIC
    PLAYER = options_pb2.ACCESS_PLAYER
    SERVICE = options_pb2.ACCESS_SERVICE


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a server.

    `function` takes the decoded request and a `mesh.dispatch.Call`; it is a
    coroutine function, or an asynchronous generator function when `streams`.
    """

    path: str
    access: Access
    streams: bool
    decode: Callable[[bytes], Any]
    function: Callable[[Any, Any], Any]
    encode: Callable[[Any], bytes]
    terms: Terms = UNKNOWN


def access_of(method: MethodDescriptor) -> Access:
    """The rule that a method's proto declares."""
    return Access(method.GetOptions().Extensions[options_pb2.access])


def methods_of(service: ServiceDescriptor, implementation: object) -> Iterable[Method]:
    """A `Method` for every rpc of `service`, served by the attribute of
    `implementation` whose name is the rpc's in snake_case.

    Raises AttributeError when one is missing: an incomplete server must not start.
    """
    for method in service.methods:
        if method.client_streaming:
            raise AssertionError(f"{method.full_name}: client streams are not offered")
        yield Method(
            path=f"/{service.full_name}/{method.name}",
            access=access_of(method),
            streams=method.server_streaming,
            decode=GetMessageClass(method.input_type).FromString,
            function=getattr(implementation, _WORD.sub("_", method.name).lower()),
            encode=GetMessageClass(method.output_type).SerializeToString,
            terms=terms_of(method.GetOptions()),
        )
