"""The data of etcd's members, and etcd's environment variables."""

from pathlib import Path

import pytest

from deploy.local.servers import etcd


def cluster(folder: Path, first_peer_port: int) -> etcd.Cluster:
    return etcd.Cluster(folder, Path("/usr/bin/etcd"), {"etcd-1": 1}, {"etcd-1": first_peer_port})


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
