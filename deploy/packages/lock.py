"""Renews uv.lock from pyproject.toml, and requirements/ from uv.lock: `make lock`.

`uv.lock` is the source: one version of each package for all interpreters from 3.11 on, with
the hashes of its files. What `make` installs are its exports in `requirements/`, because uv
and pip both read them and take the files from the machine's own index; `uv sync`
accepts a lock only from the index that it names.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from uv import find_uv_bin

REPOSITORY = Path(__file__).resolve().parents[2]
EXPORTS = {
    "uv.txt": ("--only-group", "uv"),
    "embedded.txt": ("--extra", "embedded"),
    "dev.txt": ("--extra", "embedded", "--extra", "dev"),
}
_EXPORT = ("export", "--frozen", "--quiet", "--no-emit-project", "--no-annotate", "--no-header")


def run_uv(*arguments: str) -> str:
    """Runs uv and returns its output. Raises `subprocess.CalledProcessError` when it fails; uv
    has printed the reason by then."""
    command = [find_uv_bin(), *arguments, "--no-python-downloads"]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def export(name: str) -> str:
    """The text for the file of that name in requirements/."""
    return run_uv(*_EXPORT, *EXPORTS[name])


def main(arguments: Sequence[str]) -> int:
    """Renews the lock. Keeps versions that are still allowed; `--upgrade` takes the newest."""
    try:
        run_uv("lock", *arguments)
        for name in EXPORTS:
            (REPOSITORY / "requirements" / name).write_text(export(name))
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
