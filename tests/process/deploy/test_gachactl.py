"""gachactl without a mesh, or with an incomplete installation."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.layout import REPOSITORY, Layout
from deploy.local.supervision import run_lock

COMMANDS = (
    "status",
    "roll",
    "renew",
    "rotate-keys",
    "tx list",
    "sagas list",
    "logins summary",
)


def gachactl(*arguments: str, python: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *python, "-m", "deploy.gachactl", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_where_nothing_runs_a_command_says_so_in_one_sentence(command: str, tmp_path: Path) -> None:
    ended = gachactl(*command.split(), "--folder", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == (
        f"Nothing runs in {tmp_path}: start it with `make up` (or `gachactl up`).\n"
    )


def test_a_damaged_mesh_file_is_reported_with_the_remedy(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.mesh.write_text('{"gateway": ')
    with run_lock.hold(layout.lock):
        ended = gachactl("status", "--folder", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"{layout.mesh} is damaged" in ended.stderr
    assert "make down" in ended.stderr


def test_a_starting_mesh_is_distinguished_from_a_stopped_one(tmp_path: Path) -> None:
    with run_lock.hold(Layout(tmp_path).lock):
        ended = gachactl("status", "--folder", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "The mesh is starting or stopping: try again when it is up.\n"


def test_an_interrupted_installation_is_a_sentence_and_no_traceback() -> None:
    ended = gachactl("status", python=("-S",))
    assert ended.returncode == 1
    assert ended.stderr.startswith("The environment is not complete: ")
    assert "make up" in ended.stderr
    assert ended.stderr.count("\n") == 1
