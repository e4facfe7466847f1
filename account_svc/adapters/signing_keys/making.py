"""Makes signing keys in their folder, finds their files, and allows one change at a time."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from account_svc.adapters.signing_keys.files import RefusedKeyFile, read_private_key_file
from account_svc.domain.signing.signing_keys import file_name
from mesh.identity.keys import key_id
from mesh.private_files import replace_file


class KeyFolder:
    """A folder of signing keys: an `account_svc.domain.signing.signing_keys.KeyFiles`. Hold
    `lock_folder` while you use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        return str(self._folder)

    def names(self) -> dict[str, str]:
        return {kid: path.name for kid, path in key_files(self._folder).items()}

    def make(self, made_at: datetime) -> str:
        path = make_signing_key(self._folder, made_at)
        return key_id(read_private_key_file(path).public_key())

    def remove(self, kid: str) -> None:
        path = key_files(self._folder).get(kid)
        if path is None:
            raise FileNotFoundError(f"the file of key {kid} is gone")
        path.unlink()


def make_signing_key(folder: Path, made_at: datetime) -> Path:
    """Writes a new key atomically, readable only by its owner; returns its file.

    Raises FileExistsError when a key was made in the same second, and OSError.
    """
    path = folder / file_name(made_at)
    if path.exists():
        raise FileExistsError(path)
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    replace_file(path, pem)
    return path


def key_files(folder: Path) -> dict[str, Path]:
    """The readable key files, by the ids of their keys, the oldest first."""
    files = {}
    for path in sorted(folder.glob("*.pem")):
        # The instances report an unreadable file, so it is skipped here.
        with contextlib.suppress(RefusedKeyFile):
            files[key_id(read_private_key_file(path).public_key())] = path
    return files


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[bool]:
    """Locks the folder for one change; yields False while another process holds the lock.

    The kernel frees the lock when its holder dies. Raises OSError when there is no folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
