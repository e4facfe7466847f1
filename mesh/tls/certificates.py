"""The certificate that a process uses now, followed as its files change.

Files are looked at each second. What cannot be used, such as a key that came before its
certificate, is not taken: what was good goes on, and the files are tried again until they
are. That a certificate is in the last third of its life, and nobody has replaced it, is
said in the log each hour.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Gauge

from mesh.tls.material import CertificateRefused, Material, TlsFiles, read_material

LOOK_SECONDS = 1.0
WARNING_SECONDS = 3600.0
WARNED_PART = 1 / 3
"""Of its life, at the end."""

log = structlog.get_logger()
_Signature = tuple[tuple[int, int, int], ...]


class CertificateMetrics:
    """When the certificates that a process uses expire."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError when the registry has them already."""
        self._expiry = Gauge(
            "mesh_tls_certificate_expiry_seconds",
            "When the certificate expires, in seconds since 1970; use is mesh or rest.",
            ["use"],
            registry=registry,
        )

    def observer(self, use: str) -> Callable[[float], None]:
        """Takes the time of expiry of the certificate of that use."""
        observe: Callable[[float], None] = self._expiry.labels(use).set
        return observe


class Certificates:
    """Holds what the files held last that could be used. Use it in one event loop alone;
    `current` may be asked by any thread."""

    def __init__(
        self,
        files: TlsFiles,
        *,
        observe_expiry: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.time,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Reads the files. Raises CertificateRefused. `observe_expiry` is told when each
        certificate that is taken expires; `clock` gives seconds since 1970."""
        self._files = files
        self._observe_expiry = observe_expiry
        self._clock = clock
        self._look_seconds = look_seconds
        self._subscribers: dict[Callable[[], None], None] = {}
        self._refused: str | None = None
        self._warn_at = 0.0
        self._following: asyncio.Task[None] | None = None
        self._signature = self._look()
        self._current = read_material(files, clock())
        observe_expiry(self._current.ends_at)

    @property
    def current(self) -> Material:
        """What to use for a new connection."""
        return self._current

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], object]:
        """Has `changed` called after each change; the answer ends that, and may be called
        more than once."""
        self._subscribers[changed] = None
        return lambda: self._subscribers.pop(changed, None)

    def start(self) -> None:
        """Begins to follow the files, and goes on until `close`."""
        assert self._following is None, "started twice"
        self._following = asyncio.create_task(self._follow(), name="certificates")

    async def close(self) -> None:
        """Idempotent."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    def look_again(self) -> None:
        """Takes what the files hold now, if it is new and can be used."""
        signature = self._look()
        if signature != self._signature:
            self._take(signature)
        self._warn()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                self.look_again()
            except Exception as error:  # a task must not die unseen
                log.error("fail_certificates", exc_info=error)

    def _look(self) -> _Signature:
        """Changes with any of the files; a file that is away is one that differs."""
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
