"""Which etcd is taken, and what becomes of its data."""

import os
from pathlib import Path

import pytest

from deploy.local.errors import LocalRunError
from deploy.local.servers import etcd


def install(folder: Path, said: str) -> None:
    """An etcd on PATH that says so of its version."""
    program = folder / "etcd"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first folder on PATH, which has no other etcd."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin-of-nobody")
    return tmp_path


@pytest.mark.parametrize("version", ["3.4.22", "3.4.30", "3.5.6", "3.5.21", "3.6.0", "4.0.0"])
def test_a_version_that_keeps_what_it_acknowledged_is_taken(programs: Path, version: str) -> None:
    install(programs, f"etcd Version: {version}")
    assert etcd.binary() == programs / "etcd"


@pytest.mark.parametrize("version", ["3.3.27", "3.4.21", "3.5.0", "3.5.5", "2.3.8"])
def test_an_older_version_is_refused_saying_which_would_do(programs: Path, version: str) -> None:
    install(programs, f"etcd Version: {version}")
    with pytest.raises(LocalRunError, match=rf"is {version}; .* apt install etcd-server"):
        etcd.binary()


def test_a_program_that_says_no_version_is_refused(programs: Path) -> None:
    install(programs, "hello")
    with pytest.raises(LocalRunError, match="unknown version"):
        etcd.binary()


@pytest.mark.usefixtures("programs")
def test_a_missing_etcd_is_told_with_the_remedy() -> None:
    with pytest.raises(LocalRunError, match=r"not found on PATH.*apt install etcd-server"):
        etcd.binary()


def cluster(folder: Path, first_peer_port: int) -> etcd.Cluster:
    return etcd.Cluster(folder, {"etcd-1": 1}, {"etcd-1": first_peer_port})


def test_data_stays_for_the_same_members_and_is_forgotten_for_others(tmp_path: Path) -> None:
    folder = tmp_path / "etcd"
    cluster(folder, 2).prepare()
    data = cluster(folder, 2).data("etcd-1")
    data.mkdir()
    cluster(folder, 2).prepare()
    assert data.exists()
    cluster(folder, 3).prepare()
    assert not data.exists()


def test_variables_of_etcd_that_a_caller_has_do_not_reach_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ETCD_NAME", "elsewhere")
    monkeypatch.setenv("ETCD_UNSUPPORTED_ARCH", "arm64")
    environment = etcd.environment()
    assert "ETCD_NAME" not in environment
    assert environment["ETCD_UNSUPPORTED_ARCH"] == "arm64"
