"""uv.lock follows pyproject.toml, and what `make` installs follows uv.lock: `make lock` renews
both."""

import re
from pathlib import Path

import pytest

from deploy.packages.lock import EXPORTS, export, run_uv


def test_lock_is_in_step_with_the_project() -> None:
    run_uv("lock", "--check", "--offline")


@pytest.mark.parametrize("name", EXPORTS)
def test_requirements_are_those_of_the_lock(name: str, repository: Path) -> None:
    assert (repository / "requirements" / name).read_text() == export(name)


def test_only_the_public_index_is_named(repository: Path) -> None:
    files = [repository / "uv.lock", *(repository / "requirements" / name for name in EXPORTS)]
    hosts = {host for file in files for host in re.findall(r"https?://([^/\"]+)", file.read_text())}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
