"""Reads a private key from a file that only its owner may read."""

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.identity.key_files import MAX_KEY_FILE_BYTES
from mesh.identity.keys import load_private_key


class RefusedKeyFile(Exception):
    """The file must not be used; the message has its name, the reason and the remedy."""


def read_private_key_file(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key (PKCS8, PEM, without a password) of a file.

    The permissions follow PostgreSQL's rule for ssl_key_file: at most 0600, or at most 0640 for
    a file owned by root, as containers mount secrets. Raises RefusedKeyFile.
    """
    try:
        # Do not block if the path is a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _check_owner(path, os.fstat(descriptor))
            pem = file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise RefusedKeyFile(f"{path} cannot be read ({error.strerror})") from error
    try:
        return load_private_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RefusedKeyFile(
            f"{path} holds no Ed25519 private key in PKCS8 PEM form ({error})"
        ) from error


def _check_owner(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise RefusedKeyFile(f"{path} is not a file")
    if found.st_uid not in (0, os.geteuid()):
        raise RefusedKeyFile(f"{path} belongs to another user (uid {found.st_uid})")
    allowed = 0o640 if found.st_uid == 0 else 0o600
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o777 & ~allowed:
        raise RefusedKeyFile(
            f"{path} may be read by others (mode {mode:04o}): chmod 600 it, and replace the key "
            "if another user may have read it"
        )
