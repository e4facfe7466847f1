"""The key files of a folder, and whether any of them changed.

A key file's name ends in `.pem`. Names that begin with a dot are skipped: Kubernetes uses
such names for the targets of the links that it mounts.
"""

from pathlib import Path

LOOK_SECONDS = 5.0
"""How often a key folder is checked; a removed key is accepted for at most this long."""
UNKNOWN_KEY_LOOK_SECONDS = 1.0
"""The shortest interval between checks caused by unknown key ids, so that made-up ids
cost nothing."""
MAX_KEY_FILES = 1_000
MAX_KEY_FILE_BYTES = 16 * 1024

Stamp = tuple[int, int, int, int]
"""Changes when a file's content or its permissions change."""


class BadKeyFolder(Exception):
    """The folder cannot be read, or holds no key; the message says what is wrong."""


def stamps_of(folder: Path) -> dict[Path, Stamp]:
    """The stamp of every key file of a folder, ordered by name, at most MAX_KEY_FILES.

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
