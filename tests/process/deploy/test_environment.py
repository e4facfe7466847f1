"""An interrupted installation never counts as a complete environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """The files of a checkout that the commands read before they start Python."""
    shutil.copy(repository / "Makefile", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho python runs\n")
    python.chmod(0o755)
    return tmp_path


def make(checkout: Path, target: str) -> "subprocess.CompletedProcess[str]":
    # `make test` runs this under another make, whose flags must not reach this one.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", target],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("target", ["status", "down", "tx"])
def test_broken_off_installation_is_said_in_one_sentence(checkout: Path, target: str) -> None:
    (checkout / ".venv.unfinished").touch()
    done = make(checkout, target)
    assert done.returncode != 0
    assert "The environment (.venv) is not complete" in done.stderr
    assert "python runs" not in done.stdout


def test_finished_environment_is_used(checkout: Path) -> None:
    assert make(checkout, "status").stdout == "python runs\n"


def test_no_environment_means_that_nothing_runs(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    done = make(checkout, "status")
    assert done.returncode == 0
    assert "Nothing runs" in done.stdout
