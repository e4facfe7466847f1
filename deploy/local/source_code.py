"""The code that a mesh runs from, and what of it was changed since the mesh was started.

A process that is restarted runs the code as it is then. If that code expects another schema or
other settings, only a new start of the whole mesh gives them to it.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGES = (
    "account_svc",
    "deploy",
    "gacha_svc",
    "gateway_http",
    "mesh",
    "payment_sandbox",
    "protos",
    "registry",
)
CATALOG = Path("gacha_svc/catalog.yaml")
"""It is not code: it is read again while the mesh serves."""
LOCKED_PACKAGES = Path("requirements/embedded.txt")

Digests = Mapping[Path, bytes]
"""A digest of each file, by its path in the repository."""


def digests(repository: Path) -> Digests:
    """What the code is now: every file of the packages, such as programs, schemas, grants and
    templates, without the catalog and what Python compiles; and the versions that are locked."""
    sources = [
        path
        for package in PACKAGES
        for path in (repository / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path != repository / CATALOG
    ]
    packages = repository / LOCKED_PACKAGES
    return {
        path.relative_to(repository): hashlib.sha256(path.read_bytes()).digest()
        for path in [*sources, *([packages] if packages.exists() else [])]
    }


def stamps(repository: Path) -> Mapping[str, tuple[int, int, int]]:
    """What `digests` looks at in the packages, by path; for each file its inode, its size and the
    time of its last change. Much cheaper than digests; a file that was written anew with the same
    content is another one. Raises OSError."""
    return {
        entry.path: ((found := entry.stat()).st_ino, found.st_size, found.st_mtime_ns)
        for package in PACKAGES
        for entry in _entries(str(repository / package))
        if entry.path != str(repository / CATALOG)
    }


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    """The files in the folder and in those below it, without what Python compiles."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                yield entry
            elif entry.name != "__pycache__":
                yield from _entries(entry.path)


def changed(before: Digests, now: Digests) -> list[Path]:
    """The files that were changed, added or removed, in order."""
    names = before.keys() | now.keys()
    return sorted(name for name in names if before.get(name) != now.get(name))


def in_words(paths: list[Path]) -> str:
    """`mesh/a.py, mesh/b.py and 3 more files`; at least one path is needed."""
    first, rest = [str(path) for path in paths[:2]], len(paths[2:])
    return ", ".join(first) + (f" and {rest} more file{'s' * (rest > 1)}" if rest else "")
