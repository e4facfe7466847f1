"""Searches log folders for secrets: tokens, passwords, emails.

A finding has the file, the line and the kind; the secret itself is never shown.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

SECRETS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "a signed token": re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
        "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
        "a refresh token": re.compile(r"gmr_[\w-]{8,}"),
        "a password's hash": re.compile(r"\$argon2id?\$"),
        # The passwords of the tests and of the README begin with "correct horse".
        "a password": re.compile(r"correct horse|a wrong password|a password that nobody may see"),
        # All emails except that of the example which `make up` prints.
        "an email": re.compile(r"\b(?!mira@example\.com)[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}"),
    }
)


def find_leaks(logs: Path) -> list[str]:
    """One "file:line: kind" for each line of the file, or of each file below the folder, and
    each kind in it."""
    return [
        f"{path}:{number}: {kind}"
        for path in (logs, *sorted(logs.rglob("*")))
        if path.is_file()
        for number, kind in _leaks_of(path)
    ]


def _leaks_of(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            for kind, pattern in SECRETS.items():
                if pattern.search(line):
                    yield number, kind
