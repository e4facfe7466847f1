"""The choice of the etcd binary."""

import os
from pathlib import Path

import pytest

from deploy.local.errors import LocalRunError
from deploy.local.servers import etcd


def install(folder: Path, said: str) -> None:
    """Installs a fake etcd that prints this version."""
    program = folder / "etcd"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first folder on PATH, without any other etcd."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin-of-nobody")
    return tmp_path


@pytest.mark.parametrize("version", ["3.4.22", "3.4.30", "3.5.6", "3.5.21", "3.6.0", "4.0.0"])
def test_a_version_that_keeps_acknowledged_writes_is_accepted(programs: Path, version: str) -> None:
    install(programs, f"etcd Version: {version}")
    assert etcd.binary() == programs / "etcd"


@pytest.mark.parametrize("version", ["3.3.27", "3.4.21", "3.5.0", "3.5.5", "2.3.8"])
def test_an_older_version_is_refused_naming_the_accepted_ones(programs: Path, version: str) -> None:
    install(programs, f"etcd Version: {version}")
    with pytest.raises(LocalRunError, match=rf"is {version}; .* apt install etcd-server"):
        etcd.binary()


def test_a_program_that_says_no_version_is_refused(programs: Path) -> None:
    install(programs, "hello")
    with pytest.raises(LocalRunError, match="unknown version"):
        etcd.binary()


@pytest.mark.usefixtures("programs")
def test_a_missing_etcd_is_reported_with_the_remedy() -> None:
    with pytest.raises(LocalRunError, match=r"not found on PATH.*apt install etcd-server"):
        etcd.binary()
