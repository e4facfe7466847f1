"""Creates the gRPC channels and ports of the mesh, in plain text or with mutual TLS.

With TLS, a server accepts only clients whose certificate its CA issued. A client accepts only
servers whose certificate names the address that was called, or the configured common server
name. Open connections survive a renewal. Servers use the new certificate from the next
handshake on; subscribers are notified so that they can replace their channels.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grpc

from mesh.tls.certificates import CertificateMetrics, Certificates
from mesh.tls.material import Material
from mesh.tls.port_certificates import PortCertificates
from mesh.tls.settings import TlsSettings

Options = Sequence[tuple[str, Any]]


class Security(Protocol):
    """Creates channels and opens ports."""

    def channel(self, address: str, options: Options) -> grpc.aio.Channel:
        """A channel to host:port, created in the running loop. It connects on first use."""
        ...

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        """Makes a server listen on host:port; returns the port. Raises RuntimeError if that
        fails."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], object]:
        """Calls `changed` when existing channels should be replaced; returns the unsubscribe
        function."""
        ...

    def describe(self) -> str:
        """For an error message: whether connections use TLS, and the setting that decides it."""
        ...

    async def close(self) -> None:
        """Stops its background work. Idempotent."""
        ...


class Plain:
    """Plain text: no encryption and no authentication of peers."""

    def channel(self, address: str, options: Options) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(address, options=options)

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        return server.add_insecure_port(listen)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], object]:
        return lambda: None

    def describe(self) -> str:
        return "without TLS (MESH_TLS_DIR is not set)"

    async def close(self) -> None:
        """Does nothing."""


PLAIN = Plain()


class MutualTls:
    """Mutual TLS: both ends show a certificate and verify the other's."""

    def __init__(self, certificates: Certificates, server_name: str | None = None) -> None:
        """`server_name`, if set, must be in every server's certificate, in place of the
        server's address."""
        self._certificates = certificates
        self._server_name = server_name
        self._credentials: tuple[Material, grpc.ChannelCredentials] | None = None

    def channel(self, address: str, options: Options) -> grpc.aio.Channel:
        named = (("grpc.ssl_target_name_override", self._server_name),) if self._server_name else ()
        return grpc.aio.secure_channel(
            address, self._channel_credentials(), options=(*options, *named)
        )

    def add_port(self, server: grpc.aio.Server, listen: str) -> int:
        shown = PortCertificates(self._certificates)
        credentials = grpc.dynamic_ssl_server_credentials(
            shown.initial,
            shown.fetch,  # type: ignore[arg-type]  # stubs forget None
            require_client_authentication=True,
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
    """The Security for the settings. It follows its certificates' files, in the running loop.
    Raises CertificateRefused."""
    if settings.tls_files is None:
        return PLAIN
    certificates = Certificates(settings.tls_files, observe_expiry=metrics.observer("mesh"))
    certificates.start()
    return MutualTls(certificates, settings.tls_server_name)


def security_read_once(settings: TlsSettings) -> Security:
    """The same for a short-lived command: files are read once. Raises CertificateRefused."""
    if settings.tls_files is None:
        return PLAIN
    return MutualTls(Certificates(settings.tls_files), settings.tls_server_name)
