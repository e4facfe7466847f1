"""The key files of a folder: which there are, and whether any of them changed.

A key file ends in `.pem`. What begins with a dot is none: Kubernetes keeps what it mounts
behind links whose names begin so.
"""

from pathlib import Path

LOOK_SECONDS = 5.0
"""How often a folder of keys is looked at: a key that was removed is accepted no longer."""
UNKNOWN_KEY_LOOK_SECONDS = 1.0
"""How often an unknown key id makes us look at most, so that made-up ones cost nothing."""
MAX_KEY_FILES = 1_000
MAX_KEY_FILE_BYTES = 16 * 1024

Stamp = tuple[int, int, int, int]
"""Changes with a file's content, and with who may read it."""


class BadKeyFolder(Exception):
    """The folder cannot be read, or holds no key; the message tells what is wrong."""


def stamps_of(folder: Path) -> dict[Path, Stamp]:
    """Every key file of a folder in the order of their names, at most MAX_KEY_FILES.

    Raises OSError.
    """
    stamps = {}
    for path in sorted(folder.iterdir()):
        if path.suffix != ".pem" or path.name.startswith("."):
            continue
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        stamps[path] = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
        if len(stamps) == MAX_KEY_FILES:
            break
    return stamps
