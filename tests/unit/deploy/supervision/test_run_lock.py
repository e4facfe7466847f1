"""At most one runner per folder."""

import os
from pathlib import Path

from deploy.local.supervision import run_lock


def test_second_runner_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    path = tmp_path / "var" / "run.lock"
    with run_lock.hold(path) as first:
        assert first
        with run_lock.hold(path) as second:
            assert not second
        assert run_lock.holder_pid(path) == os.getpid()
    assert run_lock.holder_pid(path) is None
    with run_lock.hold(path) as third:
        assert third


def test_a_pid_that_was_left_behind_names_no_holder(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    path.write_text("1\n")
    assert run_lock.holder_pid(path) is None


def test_waiting_ends_when_the_holder_does(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with run_lock.hold(path):
        assert not run_lock.wait_until_free(path, timeout_seconds=0.1)
    assert run_lock.wait_until_free(path, timeout_seconds=0.1)
