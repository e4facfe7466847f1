"""The certificate that a listening port shows, replaced without harm to running handshakes.

gRPC asks for the configuration at the start of each handshake, in its own threads. A port that
gets a configuration replaces its handshaker factory and frees the old one. gRPC does not count
a handshake that has just started as a user of the old factory (grpc/grpc#36693), so that a
replacement during handshakes can end the process. Here the port gets a configuration only
when the certificate has changed, and only when no handshake has started for a while.
"""

import threading
import time
from collections.abc import Callable

import grpc

from mesh.tls.certificates import Certificates
from mesh.tls.material import Material

SETTLE_SECONDS = 0.25
"""A started handshake takes its factory within microseconds. The rest is for a busy machine."""


class PortCertificates:
    """The configurations of one port. `fetch` is thread-safe."""

    def __init__(
        self,
        certificates: Certificates,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`clock` and `sleep` are in seconds."""
        self._certificates = certificates
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._shown = certificates.current
        self._last_start = clock()
        self.initial = _configuration(self._shown)
        """What the port shows before the first call of `fetch`."""

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration at the start of a handshake; None if it has not changed.

        The first handshake after a change waits until the one before it started
        SETTLE_SECONDS ago. Other handshakes of the port wait behind it: gRPC holds the port's
        lock during this call and the replacement that follows. Open connections do not wait.
        """
        with self._lock:
            material = self._certificates.current
            if material is self._shown:
                self._last_start = self._clock()
                return None
            wait_seconds = self._last_start + SETTLE_SECONDS - self._clock()
            if wait_seconds > 0:
                self._sleep(wait_seconds)
            configuration = _configuration(material)
            self._shown, self._last_start = material, self._clock()
            return configuration


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.ca
    )
