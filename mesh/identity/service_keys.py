"""The public keys of the services, in a folder of PEM files.

A file's name up to its first dot is the service that the key belongs to: `gacha_svc.pem`, and
beside it `gacha_svc.next.pem` during a rotation. A key identifies only its own service; a key
that is stored under two names identifies neither. Added and removed files take effect within
LOOK_SECONDS, without a restart. While the folder cannot be read, the last read keys stay
valid.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from mesh.identity.key_files import (
    LOOK_SECONDS,
    MAX_KEY_FILE_BYTES,
    UNKNOWN_KEY_LOOK_SECONDS,
    BadKeyFolder,
    Stamp,
    stamps_of,
)
from mesh.identity.keys import ServiceKey, key_id

_SERVICE = re.compile(r"[A-Za-z0-9_]{1,64}")
"""No hyphen: it separates the service's name from the rest of an instance's id."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Read:
    """The keys of a folder by key id, and a sentence for each file that was skipped."""

    keys: Mapping[str, ServiceKey]
    faults: tuple[str, ...]


class ServiceKeyFolder:
    """The keys of one folder, used in one thread; `find` is a `mesh.identity.auth.ServiceKeys`."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises BadKeyFolder if the folder holds no key, or a file that is not a valid key.

        `clock` is monotonic, in seconds.
        """
        self._folder = folder
        self._clock = clock
        try:
            self._stamps = stamps_of(folder)
        except OSError as error:
            raise BadKeyFolder(f"{folder} cannot be read ({error.strerror})") from error
        read = _read(self._stamps)
        if read.faults:
            raise BadKeyFolder("; ".join(read.faults))
        if not read.keys:
            raise BadKeyFolder(f"{folder} holds no public key; each service has a NAME.pem there")
        self._keys = read.keys
        self._looked_at = clock()

    def find(self, kid: str) -> ServiceKey | None:
        """The key with that id and its service; None if it is unknown."""
        found = self._keys.get(kid)
        patience_seconds = LOOK_SECONDS if found is not None else UNKNOWN_KEY_LOOK_SECONDS
        if self._clock() < self._looked_at + patience_seconds:
            return found
        self._look()
        return self._keys.get(kid)

    def _look(self) -> None:
        self._looked_at = self._clock()
        try:
            stamps = stamps_of(self._folder)
        except OSError as error:
            log.error("fail_key_folder", folder=str(self._folder), error=error.strerror)
            return
        if stamps == self._stamps:
            return
        read = _read(stamps)
        self._stamps, self._keys = stamps, read.keys
        for fault in read.faults:
            log.error("refuse_service_key", fault=fault)
        services = sorted({key.service for key in read.keys.values()})
        log.info("read_service_keys", services=services, key_count=len(read.keys))


def _read(paths: Mapping[Path, Stamp]) -> _Read:
    keys: dict[str, ServiceKey] = {}
    faults: list[str] = []
    ambiguous: set[str] = set()
    for path in paths:
        try:
            service, key = path.name.partition(".")[0], _public_key(path)
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            faults.append(f"{path} holds no Ed25519 public key in PEM form ({error})")
            continue
        if not _SERVICE.fullmatch(service):
            faults.append(f"{path} is not named after a service (letters, digits and underscores)")
            continue
        kid = key_id(key)
        if kid in keys and keys[kid].service != service:
            faults.append(f"{path} holds the key of {keys[kid].service} too: it identifies neither")
            ambiguous.add(kid)
        keys[kid] = ServiceKey(service, key)
    kept = {kid: key for kid, key in keys.items() if kid not in ambiguous}
    return _Read(kept, tuple(faults))


def _public_key(path: Path) -> Ed25519PublicKey:
    with path.open("rb") as file:
        key = load_pem_public_key(file.read(MAX_KEY_FILE_BYTES))
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is another kind of key")
    return key
