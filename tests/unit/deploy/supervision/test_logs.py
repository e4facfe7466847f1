"""Logs are bounded, and those of the last run are kept."""

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
    log = tmp_path / "registry-1.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"more than ten bytes")
        logs.bound(tmp_path, max_bytes=10)
        writer.write(b"next")
    assert log.read_bytes() == b"next"
    assert (tmp_path / "registry-1.log.1").read_bytes() == b"more than ten bytes"
