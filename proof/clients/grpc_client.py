"""gRPC directly to the services; it knows only their addresses."""

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from mesh.tls.material import TlsFiles
from proof.clients.answers import Answer, as_rest, good, refused
from proof.clients.client import Client, Request
from proof.clients.reflected import ReflectedServer

TIMEOUT_SECONDS = 20.0


class GrpcClient(Client):
    """`addresses` has a host:port for each service by its full name. `files` are those of the
    client certificate."""

    def __init__(self, addresses: Mapping[str, str], files: TlsFiles | None = None) -> None:
        servers = {address: ReflectedServer(address, files) for address in set(addresses.values())}
        self._servers = {service: servers[address] for service, address in addresses.items()}

    def call(self, method: str, request: Request, token: str = "") -> Answer:
        server = self._servers[method.partition("/")[0]]
        descriptor = server.method(method)
        message = json_format.ParseDict(
            dict(request), GetMessageClass(descriptor.input_type)(), descriptor_pool=server.pool
        )
        raw = self.send(method, message.SerializeToString(), token)
        if isinstance(raw, Answer):
            return raw
        reply = GetMessageClass(descriptor.output_type).FromString(raw)
        document = json_format.MessageToDict(
            reply, always_print_fields_with_no_presence=True, descriptor_pool=server.pool
        )
        return good(as_rest(descriptor.output_type, document), raw)

    def send(self, method: str, message: bytes, token: str = "") -> bytes | Answer:
        """Sends serialized bytes; returns the bytes of the reply, or the error."""
        server = self._servers[method.partition("/")[0]]
        send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(f"/{method}")
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        try:
            return bytes(send(message, timeout=TIMEOUT_SECONDS, metadata=metadata))
        except grpc.RpcError as error:
            return refusal_of(error)

    def channel(self, service: str) -> grpc.Channel:
        """The channel to the server of that service, for calls with other metadata."""
        return self._servers[service].channel

    def close(self) -> None:
        for server in self._servers.values():
            server.close()


def refusal_of(error: Any) -> Answer:
    """The answer that describes a grpc.RpcError."""
    details: list[dict[str, Any]] = []
    fields: tuple[str, ...] = ()
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            details.append(json_format.MessageToDict(info))
        elif detail.Unpack(bad):
            fields = tuple(violation.field for violation in bad.field_violations)
    raw = status.SerializeToString() if status is not None else b""
    return refused(error.code().name, error.details(), details, fields, raw)
