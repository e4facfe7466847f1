"""The environment that make installs and uses, and the variables that make takes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.supervision import run_lock

PYTHON = """#!/bin/sh
case "$1" in
    -c) [ ! -e broken ] ;;
    *) shift 2; echo "gachactl $*" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Path:
    """The files of a checkout that the commands read before they start Python."""
    shutil.copy(repository / "Makefile", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def make(checkout: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    # `make test` runs this under another make, whose flags must not reach this one.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("target", ["status", "down", "tx"])
def test_broken_off_installation_is_said_in_one_sentence(checkout: Path, target: str) -> None:
    (checkout / ".venv.unfinished").touch()
    (checkout / "broken").touch()
    done = make(checkout, target)
    assert done.returncode != 0
    assert "The environment (.venv) is not complete" in done.stderr
    assert done.stdout == ""


def test_broken_off_installation_does_not_matter_to_a_gachactl_that_works(checkout: Path) -> None:
    (checkout / ".venv.unfinished").touch()
    assert make(checkout, "down").stdout == "gachactl down\n"


@pytest.mark.parametrize(
    ("target", "status"), [("status", 3), ("tx", 3), ("down", 0), ("clean", 0)]
)
def test_no_environment_means_that_nothing_runs(checkout: Path, target: str, status: int) -> None:
    shutil.rmtree(checkout / ".venv")
    done = make(checkout, target)
    assert (done.returncode == 0, done.stdout) == (status == 0, "")
    assert "Nothing runs" in done.stderr
    assert status == 0 or f"Error {status}" in done.stderr


def test_the_environment_of_a_running_mesh_is_not_removed(checkout: Path, repository: Path) -> None:
    for path in ("deploy/local/environment.sh", "pyproject.toml", "requirements/embedded.txt"):
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / path, checkout / path)
    (checkout / ".venv.unfinished").touch()
    with run_lock.hold(checkout / "var" / "run.lock"):
        done = make(checkout, "up")
    assert done.returncode != 0
    assert f"`make down` (or `kill {os.getpid()}`)" in done.stderr
    assert (checkout / ".venv" / "bin" / "python").exists()


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["status"], "status"),
        (["rotate-keys", "PRUNE=1"], "rotate-keys --prune"),
        (["rotate-keys", "PRUNE=0"], "rotate-keys"),
        (["rotate-keys", "PRUNE="], "rotate-keys"),
        (["rotate-keys", "PRUNE=yes"], "rotate-keys --prune"),
        (["clean", "YES=no"], "clean"),
        (["clean", "YES=off"], "clean"),
        (["clean", "YES=false"], "clean"),
        (["clean", "YES=true"], "clean --yes"),
        (["clean", "YES=on"], "clean --yes"),
        (["tx", "GID=a:1:b"], "tx resolve -- a:1:b"),
        (["tx", "GID=a:1:b", "YES=1"], "tx resolve --yes -- a:1:b"),
        (["tx", "GID=a:1:b", "YES=0"], "tx resolve -- a:1:b"),
        (["logins", "NAME=mira"], "logins show -- mira"),
        (["logins", "NAME=mira", "FORGIVE=1"], "logins forgive -- mira"),
        (["logins", "NAME=mira", "FORGIVE=0"], "logins show -- mira"),
        (["logins", "NAME=mira", "FORGIVE=no"], "logins show -- mira"),
        (["reconcile", "DAYS=30", "FOLLOW=1"], "reconcile --days=30 --follow"),
        (["reconcile", "FOLLOW=0"], "reconcile"),
        (["admin-token", "FOR=account_svc"], "admin-token --for account_svc"),
    ],
    ids=" ".join,
)
def test_a_switch_is_on_or_off_by_its_value(
    checkout: Path, arguments: list[str], command: str
) -> None:
    assert make(checkout, *arguments).stdout.split() == ["gachactl", *command.split()]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["up"], "up --with-parent"),
        (["up", "PORT=", "GATEWAYS=", "PROFILE=", "TLS=0", "DETACH=0"], "up --with-parent"),
        (["up", "PORT=0", "TLS=1", "DETACH=1"], "up --port 0 --tls --detach"),
    ],
    ids=" ".join,
)
def test_options_of_up_count_when_they_have_a_value(
    checkout: Path, arguments: list[str], command: str
) -> None:
    script = checkout / "deploy" / "local" / "environment.sh"
    script.parent.mkdir(parents=True)
    script.touch()
    assert make(checkout, *arguments).stdout.split() == ["gachactl", *command.split()]


def test_switches_of_the_environment_do_not_count(checkout: Path) -> None:
    settings = {"YES": "1", "GID": "a:1:b", "PRUNE": "1", "NAME": "mira", "FORGIVE": "1"}
    for target, command in (("tx", "tx list"), ("logins", "logins summary")):
        assert make(checkout, target, **settings).stdout == f"gachactl {command}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["logins", "FORGIVE=1"], "FORGIVE=1 needs NAME="),
        (["logins", "NAME="], "NAME= is empty"),
        (["tx", "GID="], "GID= is empty"),
        (["tx", "YES=1"], "YES=1 needs GID="),
        (["roll", "NAME=gacha_svc-1"], "make roll does not use NAME"),
        (["logins", "name=mira"], "make logins does not use name. It uses: NAME FORGIVE"),
        (["sagas", "ID="], "ID= is empty"),
        (["tx", "gid=a:1:b"], "make tx does not use gid. It uses: GID YES"),
        (["status", "GID=a:1:b"], "make status does not use GID. It uses: no variables"),
        (["admin-token", "for=account_svc"], "make admin-token does not use for. It uses: FOR"),
        (["admin-token", "FOR="], "FOR= is empty"),
        (["rotate-keys", "KID=k"], "make rotate-keys does not use KID. It uses: REVOKE PRUNE"),
        (["down", "FORCE=1"], "make down does not use FORCE. It uses: no variables"),
        (["reconcile", "DAY=30"], "make reconcile does not use DAY. It uses: DAYS FOLLOW"),
        (["up", "GATEWAY=3"], "make up does not use GATEWAY. It uses: PORT GATEWAYS"),
        (["YES=1"], "make help does not use YES. It uses: no variables"),
    ],
    ids=" ".join,
)
def test_a_variable_that_would_be_ignored_is_an_error(
    checkout: Path, arguments: list[str], said: str
) -> None:
    done = make(checkout, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


SWITCHES = {
    "TLS": "up",
    "DETACH": "up",
    "PRUNE": "rotate-keys",
    "YES": "clean",
    "FORGIVE": "logins",
    "FOLLOW": "reconcile",
    "MUTANTS": "faults",
    "UPGRADE": "lock",
}


@pytest.mark.parametrize("value", ["maybe", "2", "YES!", "1 0", "yes no"])
def test_a_switch_with_another_value_is_an_error_that_names_it(checkout: Path, value: str) -> None:
    read = set(re.findall(r"call on,([A-Z]+)\b", (checkout / "Makefile").read_text()))
    assert read == set(SWITCHES)
    for name, target in SWITCHES.items():
        done = make(checkout, target, f"{name}={value}")
        assert (done.returncode, done.stdout) == (2, ""), name
        assert f"{name}={value} is no switch: use {name}=1" in done.stderr


def test_every_variable_that_the_makefile_reads_is_refused_where_it_is_not_used(
    checkout: Path,
) -> None:
    makefile = (checkout / "Makefile").read_text()
    names = set(re.findall(r"call (?:given|on),([A-Z]+)\b|\$\((ARGS)\)", makefile))
    used = {name for pair in names for name in pair if name}
    assert {"FOR", "GID", "PORT", "ARGS"} <= used
    for name in sorted(used):
        done = make(checkout, "status", f"{name}=1")
        assert (done.returncode, done.stdout) == (2, ""), name
        assert f"make status does not use {name}" in done.stderr


def test_another_system_than_linux_is_named_before_anything_is_made(
    tmp_path: Path, repository: Path
) -> None:
    script = tmp_path / "deploy" / "local" / "environment.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(repository / "deploy" / "local" / "environment.sh", script)
    uname = tmp_path / "bin" / "uname"
    uname.parent.mkdir()
    uname.write_text("#!/bin/sh\necho Darwin\n")
    uname.chmod(0o755)
    done = subprocess.run(
        ["sh", str(script), "embedded"],
        env={**os.environ, "PATH": f"{uname.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "runs on Linux, and this is Darwin" in done.stderr
    assert not (tmp_path / ".venv.unfinished").exists()


def test_clean_asks_unless_told_otherwise(checkout: Path) -> None:
    assert make(checkout, "clean").stdout == "gachactl clean\n"
    assert make(checkout, "clean", "YES=1").stdout == "gachactl clean --yes\n"
