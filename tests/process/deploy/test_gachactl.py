"""gachactl without a mesh, or with an incomplete installation."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.layout import REPOSITORY, Layout
from deploy.local.supervision import run_lock

COMMANDS = (
    "status",
    "roll",
    "upgrade",
    "renew",
    "rotate-keys",
    "tx list",
    "sagas list",
    "logins summary",
    "reconcile",
    "admin-token",
)


def gachactl(
    *arguments: str, python: tuple[str, ...] = (), **variables: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *python, "-m", "deploy.gachactl", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **variables},
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
        f"Nothing runs in {tmp_path}: start it with `gachactl up --folder {tmp_path}`.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        *((f"{command} --nope", "No such option: --nope") for command in COMMANDS),
        ("nope", "No such command 'nope'"),
        ("tx nope", "No such command 'nope'"),
        ("tx resolve", "Missing argument 'gid'"),
        ("sagas retry", "Missing argument"),
        ("logins show", "Missing argument"),
        ("reconcile --days", "Option '--days' requires an argument"),
        ("reconcile --days abc", "'--days': must be a valid integer"),
        ("reconcile --days 0", "'--days': must be greater than or equal to 1"),
        ("rotate-keys --instances x", "'--instances': must be a valid integer"),
        ("status --format xml", "'--format': 'xml' is not one of 'table', 'json'"),
        ("status more", "Got unexpected extra argument"),
    ],
)
def test_wrong_usage_is_said_in_one_sentence(arguments: str, said: str) -> None:
    ended = gachactl(*arguments.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(said)
    assert re.search(r": see `gachactl[a-z -]* --help`\.$", line)


def test_a_damaged_mesh_file_is_reported_with_the_remedy(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.mesh.write_text('{"gateway": ')
    with run_lock.hold(layout.lock):
        ended = gachactl("status", "--folder", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"{layout.mesh} is damaged" in ended.stderr
    for command in ("down", "up"):
        assert f"`gachactl {command} --folder {tmp_path}`" in ended.stderr


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


@pytest.mark.parametrize("command", ["up", "up --detach", "status", "down"])
@pytest.mark.parametrize("below", [False, True], ids=["a file", "below a file"])
def test_a_folder_that_cannot_be_one_is_one_sentence(
    command: str, below: bool, tmp_path: Path
) -> None:
    file = tmp_path / "thesis.txt"
    file.write_text("years of work")
    ended = gachactl(*command.split(), "--folder", str(file / "var" if below else file))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert str(file) in ended.stderr
    assert "--folder" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert file.read_text() == "years of work"


def test_a_wrong_database_url_is_named_by_the_variable_that_was_set() -> None:
    for command in ("logins summary", "sagas list"):
        ended = gachactl(*command.split(), ACCOUNT_DATABASE_URL="garbage")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == (
            "ACCOUNT_DATABASE_URL must be a URL that begins with postgresql://.\n"
        )


WRONG_USAGE = {
    "tx resolve foo": (
        "'foo' is no transaction's gid: it reads <coordinator>:<created_ms>:<random>, such as "
        "gacha_svc-1:1767225600000:9f2c4e61ab03d785, and {tx} shows those of all transactions "
        "under way.\n"
    ),
    "sagas retry foo": "'foo' is no saga's id: it must be a UUID, as {sagas} shows it.\n",
    "admin-token --for bogus": (
        "There is no service 'bogus': use --for (make: FOR=) with one of account_svc, gacha_svc, "
        "gateway_http, registry.\n"
    ),
}


@pytest.mark.parametrize("command", WRONG_USAGE)
@pytest.mark.parametrize("folder", ["default", "other"])
def test_a_wrong_value_is_refused_with_the_remedy_for_the_mesh_that_was_meant(
    command: str, folder: str, tmp_path: Path
) -> None:
    other = ["--folder", str(tmp_path)] if folder == "other" else []
    ended = gachactl(*command.split(), *other)
    told = {
        name: f"`gachactl {name} list --folder {tmp_path}`"
        if other
        else f"`make {name}` (`gachactl {name} list`)"
        for name in ("tx", "sagas")
    }
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == WRONG_USAGE[command].format(**told)


def test_options_that_contradict_each_other_are_wrong_usage() -> None:
    for arguments in (
        ["tx", "list", "--registries", "127.0.0.1:1"],
        ["rotate-keys", "--prune", "--revoke", "abcdef"],
    ):
        ended = gachactl(*arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.count("\n") == 1


def test_a_start_that_is_interrupted_ends_like_any_interrupted_program(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.gachactl", "up", "--folder", tmp_path, "--port", "0"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as runner:
        assert runner.stderr is not None
        for line in runner.stderr:
            if "Starting the databases" in line:
                break
        runner.send_signal(signal.SIGINT)
        stdout, stderr = runner.communicate(timeout=60)
    assert (runner.returncode, stdout) == (130, "")
    assert stderr.endswith("Everything is stopped.\n")


@pytest.mark.parametrize(("answer", "is_deleted"), [("n", False), ("y", True)])
def test_clean_does_what_is_answered_at_a_terminal(
    tmp_path: Path, answer: str, is_deleted: bool
) -> None:
    folder = tmp_path / "var"
    with run_lock.hold(Layout(folder).lock):
        (folder / "ports.json").write_text("{}")
    terminal, stdin = pty.openpty()
    command = [sys.executable, "-m", "deploy.gachactl", "clean", "--folder", str(folder)]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdin=stdin, stderr=subprocess.PIPE, text=True
    ) as asking:
        os.close(stdin)
        os.write(terminal, f"{answer}\n".encode())
        _, said = asking.communicate(timeout=60)
    os.close(terminal)
    assert f"Delete all players, wallets, items, secrets and logs in {folder}?" in said
    assert folder.exists() is not is_deleted
    assert asking.returncode == (0 if is_deleted else 1)
