"""The methods that a server offers, each registered once.

A method consists of a name, a decoder, a function and an encoder, all taken from the proto's
descriptor. The decoder refuses text that no database can store. Lanes and unary gRPC calls use the
same methods.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from mesh.contract.access import Rule, rule_of
from mesh.contract.idempotency import IDEMPOTENCY_KEY
from mesh.contract.method_config import UNKNOWN, MethodConfig, config_of
from mesh.contract.storable_text import storable

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a server.

    `function` takes the decoded request and a `mesh.serving.dispatch.Call`. It is a
    coroutine function, or an asynchronous generator function if `streams`. `takes_key`
    says whether the request has an idempotency key.
    """

    path: str
    rule: Rule
    streams: bool
    decode: Callable[[bytes], Any]
    function: Callable[[Any, Any], Any]
    encode: Callable[[Any], bytes]
    config: MethodConfig = UNKNOWN
    takes_key: bool = False


def methods_of(
    service: ServiceDescriptor, implementation: object, opened: Collection[str] = ()
) -> Iterable[Method]:
    """A `Method` for every rpc of `service`, served by the attribute of
    `implementation` whose name is the rpc's in snake_case.

    `opened` has the full names of methods that this server makes public. Raises
    AttributeError if an rpc has no implementation, and BadRule if its access rule is
    missing or wrong, so that such a server does not start.
    """
    for method in service.methods:
        if method.client_streaming:
            raise AssertionError(f"{method.full_name}: client streams are not offered")
        rule = rule_of(method.GetOptions())
        rule.check(method.full_name)
        yield Method(
            path=f"/{service.full_name}/{method.name}",
            rule=rule.opened() if method.full_name in opened else rule,
            streams=method.server_streaming,
            decode=storable(GetMessageClass(method.input_type).FromString),
            function=getattr(implementation, _WORD.sub("_", method.name).lower()),
            encode=GetMessageClass(method.output_type).SerializeToString,
            config=config_of(method.GetOptions()),
            takes_key=IDEMPOTENCY_KEY in method.input_type.fields_by_name,
        )
