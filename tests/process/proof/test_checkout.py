"""The checkout of another revision, with real git in a repository of the test's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from proof.bench.against.checkout import ENVIRONMENT_SCRIPT, LOCKED_PACKAGES, checked_out
from proof.bench.errors import BenchFailed

SCRIPT = 'mkdir -p .venv/bin; touch ".venv/bin/python-of-$1"'
"""In place of an installation."""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A repository with one commit, the tag `before`, that locks a package."""
    repository = tmp_path / "code"
    _write(repository / LOCKED_PACKAGES, "a==1")
    _write(repository / ENVIRONMENT_SCRIPT, SCRIPT)
    _git(repository, "init", "--quiet")
    _git(repository, "add", ".")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    _git(repository, *identity, "commit", "--quiet", "--message", "Begin")
    _git(repository, "tag", "before")
    return repository


def test_a_revision_is_beside_uncommitted_changes_and_gone_afterwards(
    code: Path, tmp_path: Path
) -> None:
    _write(code / "mesh.py", "changed")
    folder = tmp_path / "other"
    with checked_out("before", folder, print, code) as revision:
        assert revision.commit == _git(code, "rev-parse", "HEAD")
        assert revision.checkout.folder == folder
        assert revision.checkout.python == sys.executable
        assert (folder / LOCKED_PACKAGES).read_text() == "a==1"
        assert not (folder / "mesh.py").exists()
        _write(folder / "var" / "left", "by a run")
    assert not folder.exists()
    assert _git(code, "worktree", "list").count("\n") == 0
    assert (code / "mesh.py").read_text() == "changed"


def test_other_packages_get_an_environment_of_their_own(code: Path, tmp_path: Path) -> None:
    _write(code / LOCKED_PACKAGES, "a==2")
    said: list[str] = []
    with checked_out("before", tmp_path / "other", said.append, code) as revision:
        assert revision.checkout.python == str(tmp_path / "other" / ".venv" / "bin" / "python")
        assert (tmp_path / "other" / ".venv" / "bin" / "python-of-dev").exists()
    assert "an environment of its own" in said[0]


def test_packages_that_cannot_be_installed_leave_nothing_behind(code: Path, tmp_path: Path) -> None:
    script = code / ENVIRONMENT_SCRIPT
    _write(script, "echo no network >&2; exit 1")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    _git(code, *identity, "commit", "--quiet", "--all", "--message", "Break")
    _write(code / LOCKED_PACKAGES, "a==2")
    with (
        pytest.raises(BenchFailed, match="no network"),
        checked_out("HEAD", tmp_path / "other", print, code),
    ):
        pytest.fail("it was checked out")
    assert not (tmp_path / "other").exists()


def test_a_checkout_that_is_interrupted_leaves_nothing_behind(code: Path, tmp_path: Path) -> None:
    hook = code / ".git" / "hooks" / "post-checkout"
    # An interrupted `git worktree add` leaves its entry, and the entry is locked.
    _write(hook, '#!/bin/sh\ngit worktree lock "$PWD"; exit 1\n')
    hook.chmod(0o755)
    with pytest.raises(BenchFailed), checked_out("before", tmp_path / "other", print, code):
        pytest.fail("it was checked out")
    assert not (tmp_path / "other").exists()
    assert _git(code, "worktree", "list").count("\n") == 0


def test_a_folder_that_exists_is_left_alone(code: Path, tmp_path: Path) -> None:
    _write(tmp_path / "other" / "mine", "mine")
    with (
        pytest.raises(BenchFailed, match="exists already"),
        checked_out("before", tmp_path / "other", print, code),
    ):
        pytest.fail("it was checked out")
    assert (tmp_path / "other" / "mine").read_text() == "mine"


@pytest.mark.parametrize("revision", ["nosuch", "", "--all", "HEAD:requirements/dev.txt"])
def test_what_is_no_commit_is_refused(code: Path, tmp_path: Path, revision: str) -> None:
    with (
        pytest.raises(BenchFailed, match="--against needs a commit"),
        checked_out(revision, tmp_path / "other", print, code),
    ):
        pytest.fail("it was checked out")
    assert not (tmp_path / "other").exists()


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchFailed, match="not a git repository"),
        checked_out("HEAD", tmp_path / "other", print, tmp_path),
    ):
        pytest.fail("it was checked out")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=repository, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
