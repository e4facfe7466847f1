"""Another revision of this project, checked out beside it for as long as it is measured.

It runs in a git worktree of its own. It uses the packages of this project where it locks the same
ones, and an environment of its own where it does not.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from deploy.local.layout import REPOSITORY
from proof.bench.errors import BenchFailed
from proof.stack import Checkout, Mesh

LOCKED_PACKAGES = Path("requirements/dev.txt")
ENVIRONMENT_SCRIPT = Path("deploy/local/environment.sh")
INSTALL_TIMEOUT_SECONDS = 900.0
GIT_TIMEOUT_SECONDS = 120.0
INVARIANTS_TIMEOUT_SECONDS = 300.0
_CHECK = """
import json, sys
from pathlib import Path
from proof.bench.measured_mesh import running_mesh
from proof.invariants import broken_invariants
print(json.dumps(broken_invariants(running_mesh(Path(sys.argv[1])))))
"""


@dataclass(frozen=True, slots=True)
class Revision:
    """`name` is what the caller calls it, `commit` is its hash."""

    name: str
    commit: str
    checkout: Checkout

    def broken_invariants(self, mesh: Mesh) -> list[str]:
        """Of a mesh that runs this revision, by the revision's own rules: they know its schema.
        Raises BenchFailed."""
        command = [self.checkout.python, "-c", _CHECK, str(mesh.layout.mesh)]
        printed = _run(command, self.checkout.folder, INVARIANTS_TIMEOUT_SECONDS)
        broken: list[str] = orjson.loads(printed)
        return broken


@contextmanager
def checked_out(
    revision: str,
    folder: Path,
    say: Callable[[str], None],
    repository: Path = REPOSITORY,
) -> Iterator[Revision]:
    """`folder` does not exist yet, and is gone when the context ends. Raises BenchFailed if the
    repository has no such revision, or its packages cannot be installed."""
    commit = _commit_of(revision, repository)
    if folder.exists():
        raise BenchFailed(f"{folder} exists already.")
    try:
        _run(["git", "worktree", "add", "--detach", str(folder), commit], repository)
        python = _python_for(folder, repository, say)
        yield Revision(revision, commit, Checkout(folder, python))
    finally:
        _remove(folder, repository)


def _remove(folder: Path, repository: Path) -> None:
    """Removes the worktree, and what is there of one whose making was interrupted."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = _run(["git", "worktree", "list", "--porcelain"], repository).decode()
    if f"worktree {folder.resolve()}" in listed.splitlines():
        # Twice: an interrupted one is locked.
        _run(["git", "worktree", "remove", "--force", "--force", str(folder)], repository)


def _commit_of(revision: str, repository: Path) -> str:
    try:
        command = ["git", "rev-parse", "--verify", f"{revision}^{{commit}}"]
        return _run(command, repository).decode().strip()
    except BenchFailed as error:
        raise BenchFailed(f"--against needs a commit, and {revision!r} is none. {error}") from None


def _python_for(folder: Path, repository: Path, say: Callable[[str], None]) -> str:
    if _locked(folder) == _locked(repository):
        return sys.executable
    say("It locks other packages: an environment of its own is made, which takes a minute.")
    _run(["sh", str(folder / ENVIRONMENT_SCRIPT), "dev"], folder, INSTALL_TIMEOUT_SECONDS)
    return str(folder / ".venv" / "bin" / "python")


def _locked(folder: Path) -> bytes:
    path = folder / LOCKED_PACKAGES
    return path.read_bytes() if path.exists() else b""


def _run(
    command: Sequence[str], folder: Path, timeout_seconds: float = GIT_TIMEOUT_SECONDS
) -> bytes:
    """What the command printed. Raises BenchFailed with what it said about its failure."""
    what = f"`{' '.join(command[:3])}`"
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=timeout_seconds, check=True
        )
    except FileNotFoundError:
        raise BenchFailed(f"{command[0]} is not installed.") from None
    except subprocess.TimeoutExpired:
        raise BenchFailed(f"{what} did not end within {timeout_seconds:g} s.") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()
        raise BenchFailed(f"{what} failed: {reason}") from None
    return done.stdout
