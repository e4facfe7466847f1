"""The certificate for new HTTPS connections; follows the files when they are renewed.

Each certificate has its own SSL context. A connection keeps the context that it began with, so a
renewal does not affect open connections.
"""

import asyncio
import ssl

import structlog

from mesh.tls.certificates import Certificates
from mesh.tls.material import TlsFiles

RETRY_SECONDS = 1.0

log = structlog.get_logger()


class CurrentCertificate:
    """Holds the current SSL context of a server, and reloads it when the files change."""

    def __init__(
        self,
        files: TlsFiles,
        certificates: Certificates,
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`certificates` must be of these `files`; this object closes them. Raises ssl.SSLError or
        OSError when the certificate and its key cannot be read."""
        self._files = files
        self._certificates = certificates
        self._retry_seconds = retry_seconds
        self._retry: asyncio.TimerHandle | None = None
        self._context = server_context(files)

    @property
    def context(self) -> ssl.SSLContext:
        """The SSL context for a new connection."""
        return self._context

    def start(self) -> None:
        """Follows the files until `close`."""
        self._certificates.subscribe(self._renew)
        self._certificates.start()

    async def close(self) -> None:
        """Idempotent."""
        if self._retry is not None:
            self._retry.cancel()
        await self._certificates.close()

    def _renew(self) -> None:
        try:
            self._context = server_context(self._files)
        except (OSError, ssl.SSLError) as error:
            # The files changed again after the check: keep the last good context.
            log.warning("fail_https_renewal", error=str(error))
            self._retry = asyncio.get_running_loop().call_later(self._retry_seconds, self._renew)
        else:
            log.info("renew_https")


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """An SSL context for HTTP/1.1 over TLS 1.2 or later. Raises ssl.SSLError or OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(files.certificate, files.key)
    return context
