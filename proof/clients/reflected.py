"""The descriptors of a server from its own reflection, without generated code."""

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from mesh.tls.material import TlsFiles

IDLE_MS = 30_000
"""Half of the time after which a port ends an idle connection (`mesh.serving.port_bounds`). gRPC's
synchronous client notices such an end late, and a call in between would fail."""


class ReflectedServer:
    """A server and a pool of its descriptors. `files` has the client certificate for it."""

    def __init__(self, address: str, files: TlsFiles | None = None) -> None:
        options = (
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
            ("grpc.client_idle_timeout_ms", IDLE_MS),
        )
        self.address = address
        self.channel = (
            grpc.insecure_channel(address, options=options)
            if files is None
            else grpc.secure_channel(address, _credentials(files), options=options)
        )
        self._database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self._database)

    def services(self) -> list[str]:
        """The full names that it lists."""
        return list(self._database.get_services())

    def service(self, name: str) -> ServiceDescriptor:
        """Raises KeyError when the server does not know it."""
        return self.pool.FindServiceByName(name)

    def method(self, path: str) -> MethodDescriptor:
        """The method of "<service>/<method>"."""
        service, _, name = path.partition("/")
        return self.service(service).methods_by_name[name]

    def close(self) -> None:
        self.channel.close()


def _credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    assert files.ca is not None, "servers are believed by their CA"
    return grpc.ssl_channel_credentials(
        files.ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
    )
