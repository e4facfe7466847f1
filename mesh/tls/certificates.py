"""The current certificate of a process, reloaded when its files change.

Files are checked every second. Unusable content, such as a key that arrived before its
certificate, is refused: the last valid certificate stays in use, and the files are tried again.
In the last third of a certificate's life, a warning is logged every hour until it is replaced.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Gauge

from mesh.background import BackgroundTask
from mesh.tls.material import CertificateRefused, Material, TlsFiles, read_material

LOOK_SECONDS = 1.0
WARNING_SECONDS = 3600.0
WARNED_PART = 1 / 3
"""The last part of its life, in which warnings are logged."""

log = structlog.get_logger()
_Signature = tuple[tuple[int, int, int], ...]


class CertificateMetrics:
    """Metrics of the expiry of a process's certificates."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError if the registry already has them."""
        self._expiry = Gauge(
            "mesh_tls_certificate_expiry_seconds",
            "When the certificate expires, in seconds since 1970; use is mesh or rest.",
            ["use"],
            registry=registry,
        )

    def observer(self, use: str) -> Callable[[float], None]:
        """Returns a function that records when the certificate for that use expires."""
        observe: Callable[[float], None] = self._expiry.labels(use).set
        return observe


class Certificates:
    """Holds the last valid content of the files. Use it in one event loop only; `current` is
    thread-safe."""

    def __init__(
        self,
        files: TlsFiles,
        *,
        observe_expiry: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.time,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Reads the files. Raises CertificateRefused. `observe_expiry` gets the expiry of each
        accepted certificate; it and `clock` are in seconds since 1970."""
        self._files = files
        self._observe_expiry = observe_expiry
        self._clock = clock
        self._look_seconds = look_seconds
        self._subscribers: dict[Callable[[], None], None] = {}
        self._refused: str | None = None
        self._warn_at = 0.0
        self._following: BackgroundTask | None = None
        self._signature = self._look()
        self._current = read_material(files, clock())
        observe_expiry(self._current.ends_at)

    @property
    def current(self) -> Material:
        """The certificate and key for new connections."""
        return self._current

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], object]:
        """Calls `changed` after each change; returns the unsubscribe function, which is
        idempotent."""
        self._subscribers[changed] = None
        return lambda: self._subscribers.pop(changed, None)

    def start(self) -> None:
        """Starts following the files, until `close`."""
        assert self._following is None, "started twice"
        self._following = BackgroundTask(self._follow(), "certificates")

    async def close(self) -> None:
        """Stops following the files. Idempotent."""
        if self._following is not None:
            await self._following.end()

    def look_again(self) -> None:
        """Reloads the files now, if they changed and are valid."""
        signature = self._look()
        if signature != self._signature:
            self._take(signature)
        self._warn()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                self.look_again()
            except Exception as error:  # without the log entry the task would end unnoticed
                log.error("fail_certificates", exc_info=error)

    def _look(self) -> _Signature:
        """Changes when any of the files changes, appears or disappears."""
        paths = (self._files.certificate, self._files.key, self._files.ca)
        return tuple(_look_at(path) for path in paths if path is not None)

    def _take(self, signature: _Signature) -> None:
        try:
            material = read_material(self._files, self._clock())
        except CertificateRefused as error:
            if self._refused != str(error):
                log.warning("refuse_certificate", error=str(error))
            self._refused = str(error)
            return
        self._refused = None
        # Files that changed since they were looked at have another signature at the next look.
        self._signature = signature
        if material == self._current:
            return
        self._current = material
        self._warn_at = 0.0
        self._observe_expiry(material.ends_at)
        log.info("renew_certificate", expires_at=material.ends_at)
        for changed in tuple(self._subscribers):
            changed()

    def _warn(self) -> None:
        now, current = self._clock(), self._current
        left_seconds = current.ends_at - now
        if left_seconds > (current.ends_at - current.begins_at) * WARNED_PART:
            return
        if now >= self._warn_at:
            self._warn_at = now + WARNING_SECONDS
            log.warning(
                "certificate_expires",
                file=str(self._files.certificate),
                left_seconds=round(left_seconds),
            )


def _look_at(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size
