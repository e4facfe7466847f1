"""Logs are bounded, and those of the last run are kept."""

import resource
from pathlib import Path

from deploy.local.supervision import logs


def test_a_new_run_sets_the_last_runs_log_aside(tmp_path: Path) -> None:
    (tmp_path / "gacha_svc-1.log").write_text("before")
    (tmp_path / "runner.log").write_text("kept")
    logs.begin_run(tmp_path, keep="runner.log")
    assert (tmp_path / "gacha_svc-1.log.1").read_text() == "before"
    assert not (tmp_path / "gacha_svc-1.log").exists()
    assert (tmp_path / "runner.log").read_text() == "kept"


def test_a_log_above_its_bound_is_emptied_under_its_writer(tmp_path: Path) -> None:
    log, said = tmp_path / "registry-1.log", list[str]()
    with log.open("ab", buffering=0) as writer:
        writer.write(b"more than ten bytes")
        logs.bound(tmp_path, said.append, max_bytes=10)
        writer.write(b"next")
    assert log.read_bytes() == b"next"
    assert (tmp_path / "registry-1.log.1").read_bytes() == b"more than ten bytes"
    assert said == []


def test_a_log_that_cannot_be_copied_is_emptied_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "registry-1.log"
    log.write_bytes(b"more than ten bytes")
    said: list[str] = []
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard[1]))
    try:
        logs.bound(tmp_path, said.append, max_bytes=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, hard)
    assert log.read_bytes() == b""
    assert not (tmp_path / "registry-1.log.1").exists()
    assert len(said) == 1
    assert "is emptied without a copy: File too large" in said[0]
