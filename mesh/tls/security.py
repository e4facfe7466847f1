"""How gRPC connections of the mesh are made: in plain text, or with certificates at both ends.

With certificates, a server takes only clients whose certificate its CA has issued, and a
client only servers whose certificate names the address that was called (or the one name
that all servers have). Connections that stand outlive a renewal: servers show the new
certificate from the next handshake on, and whoever keeps connections is told, to make them
anew.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grpc

from mesh.tls.certificates import CertificateMetrics, Certificates
from mesh.tls.material import Material
from mesh.tls.settings import TlsSettings

Options = Sequence[tuple[str, Any]]


class Security(Protocol):
    """Makes channels and opens ports."""

    def channel(self, address: str, options: Options) -> grpc.aio.Channel:
        """A channel to host:port, made in the running loop. It connects when it is used."""
        ...

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        """Has a server listen on host:port, and returns the port. Raises RuntimeError when
        it cannot be listened on."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], object]:
        """Has `changed` called when new channels would differ from those that were made;
        the answer ends that."""
        ...

    def describe(self) -> str:
        """For an error message: whether connections use TLS, and the setting that decides it."""
        ...

    async def close(self) -> None:
        """Ends what goes on for its sake. Idempotent."""
        ...


class Plain:
    """Nothing is hidden and nobody is asked who they are."""

    def channel(self, address: str, options: Options) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(address, options=options)

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        return server.add_insecure_port(listen)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], object]:
        return lambda: None

    def describe(self) -> str:
        return "without TLS (MESH_TLS_DIR is not set)"

    async def close(self) -> None:
        """There is nothing to end."""


PLAIN = Plain()


class MutualTls:
    """Both ends show certificates, and check the other's."""

    def __init__(self, certificates: Certificates, server_name: str | None = None) -> None:
        """`server_name` is looked for in every server's certificate in place of its address."""
        self._certificates = certificates
        self._server_name = server_name
        self._credentials: tuple[Material, grpc.ChannelCredentials] | None = None

    def channel(self, address: str, options: Options) -> grpc.aio.Channel:
        named = (("grpc.ssl_target_name_override", self._server_name),) if self._server_name else ()
        return grpc.aio.secure_channel(
            address, self._channel_credentials(), options=(*options, *named)
        )

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        def configuration() -> grpc.ServerCertificateConfiguration:
            # Asked at each handshake, in a thread of gRPC's.
            material = self._certificates.current
            return grpc.ssl_server_certificate_configuration(
                [(material.key, material.certificate)], root_certificates=material.ca
            )

        credentials = grpc.dynamic_ssl_server_credentials(
            configuration(), configuration, require_client_authentication=True
        )
        return server.add_secure_port(listen, credentials)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], object]:
        return self._certificates.subscribe(changed)

    def describe(self) -> str:
        return "with TLS (MESH_TLS_DIR is set)"

    async def close(self) -> None:
        await self._certificates.close()

    def _channel_credentials(self) -> grpc.ChannelCredentials:
        # Channels with the same credentials may share a connection.
        material = self._certificates.current
        if self._credentials is None or self._credentials[0] is not material:
            credentials = grpc.ssl_channel_credentials(
                material.ca, material.key, material.certificate
            )
            self._credentials = material, credentials
        return self._credentials[1]


def security_of(settings: TlsSettings, metrics: CertificateMetrics) -> Security:
    """As the settings have it, with certificates that are followed from now on in the
    running loop. Raises CertificateRefused."""
    if settings.tls_files is None:
        return PLAIN
    certificates = Certificates(settings.tls_files, observe_expiry=metrics.observer("mesh"))
    certificates.start()
    return MutualTls(certificates, settings.tls_server_name)


def security_read_once(settings: TlsSettings) -> Security:
    """The same for a command that ends soon: nothing is followed. Raises CertificateRefused."""
    if settings.tls_files is None:
        return PLAIN
    return MutualTls(Certificates(settings.tls_files), settings.tls_server_name)
