"""The local runner with a whole mesh: its reports are true, and no process outlives it."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from redis.cluster import RedisCluster

from deploy.local.supervision import run_lock
from proof.stack import Mesh, start_mesh

TIMEOUT_SECONDS = 30.0
SERVICE_ROLES = ["registry", "account_svc", "gacha_svc", "gateway_http"]


def runner(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deploy.gachactl", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        cwd=Path(__file__).resolve().parents[3],
    )


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_ready(mesh: Mesh) -> bool:
    try:
        with urllib.request.urlopen(f"{mesh.gateway}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def family(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh for this module, because it is killed and stopped here."""
    mesh = start_mesh(tmp_path_factory.mktemp("runner") / "var")
    yield mesh
    mesh.stop()


def test_every_role_runs_as_often_as_promised(own_mesh: Mesh) -> None:
    roles = [*SERVICE_ROLES, "postgres", "cache", "payment_sandbox"]
    counts = {role: len(own_mesh.processes(role)) for role in roles}
    assert counts == {
        "registry": 1,
        "account_svc": 2,
        "gacha_svc": 2,
        "gateway_http": 1,
        "postgres": 2,
        "cache": 1,
        "payment_sandbox": 1,
    }


def test_pids_are_those_of_the_processes_themselves(own_mesh: Mesh) -> None:
    for process in own_mesh.read()["processes"]:
        assert process["pid"] is not None
        command = " ".join(psutil.Process(process["pid"]).cmdline())
        words = {"postgres": "bin/postgres", "cache": "valkey-server"}
        assert words.get(process["role"], f"-m {process['role']}") in command
        assert "parent_death" not in command


def test_databases_answer_at_their_urls_as_they_stand(own_mesh: Mesh) -> None:
    for database in ("account", "gacha"):
        connection = psycopg2.connect(own_mesh.database_url(database))
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_database()")
            assert cursor.fetchone() == (database,)
        connection.close()


def test_cache_is_a_cluster_of_one(own_mesh: Mesh) -> None:
    host, _, port = own_mesh.processes("cache")[0]["address"].rpartition(":")
    cluster = RedisCluster(host=host, port=int(port), decode_responses=True)
    try:
        cluster.set("banner:1", "open", ex=60)
        assert cluster.get("banner:1") == "open"
    finally:
        cluster.close()


def test_files_with_secrets_are_readable_by_their_owner_only(own_mesh: Mesh) -> None:
    assert stat.S_IMODE(own_mesh.layout.mesh.stat().st_mode) == 0o600
    assert stat.S_IMODE(own_mesh.layout.secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE(own_mesh.layout.logs.stat().st_mode) == 0o700


def test_no_secret_is_an_argument_of_a_process(own_mesh: Mesh) -> None:
    texts = [
        path.read_text()
        for path in own_mesh.layout.secrets.rglob("*")
        if path.is_file() and "public_keys" not in path.parts
    ]
    secrets = {word for text in texts for word in text.split() if len(word) >= 32}
    assert len(secrets) >= 6, "each file that is there has one"
    runner_process = psutil.Process(own_mesh.runner_pid)
    family = [runner_process, *runner_process.children(recursive=True)]
    assert len(family) > len(own_mesh.read()["processes"])
    for process in family:
        with suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            shown = [secret for secret in secrets if secret in command]
            assert not shown, f"an argument of {process.name()} ({process.pid}) is a secret"


def test_status_shows_every_process_as_healthy(own_mesh: Mesh) -> None:
    assert eventually(lambda: is_ready(own_mesh))
    shown = runner("status", "--folder", own_mesh.layout.folder)
    assert shown.returncode == 0, shown.stdout
    for process in own_mesh.read()["processes"]:
        assert process["name"] in shown.stdout
        assert process["address"] in shown.stdout


def test_status_as_json_has_every_process_and_no_secret(own_mesh: Mesh) -> None:
    shown = runner("status", "--folder", own_mesh.layout.folder, "--format", "json")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    status, mesh = json.loads(shown.stdout), own_mesh.read()
    assert status["gateway"] == mesh["gateway"]
    assert status["processes"] == [{**each, "health": "healthy"} for each in mesh["processes"]]
    assert "postgresql://" not in shown.stdout


def test_second_up_beside_a_running_one_says_so(own_mesh: Mesh) -> None:
    for arguments in (["up", "--port", "0"], ["up", "--port", "0", "--detach"]):
        refused = runner(*arguments, "--folder", own_mesh.layout.folder)
        assert refused.returncode == 1
        assert f"process {own_mesh.runner_pid}" in refused.stderr
        for command in ("status", "down"):
            assert f"`gachactl {command} --folder {own_mesh.layout.folder}`" in refused.stderr


def test_clean_is_refused_while_the_mesh_runs(own_mesh: Mesh) -> None:
    refused = runner("clean", "--folder", own_mesh.layout.folder)
    assert refused.returncode == 1
    assert f"`gachactl down --folder {own_mesh.layout.folder}`" in refused.stderr
    assert own_mesh.layout.mesh.exists()


def test_taken_gateway_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        refused = runner("up", "--folder", tmp_path / "var", "--port", str(port))
    assert refused.returncode == 1
    assert f"Port {port}" in refused.stderr
    assert f"pid {os.getpid()}" in refused.stderr
    assert "make: PORT=" in refused.stderr


@pytest.mark.parametrize(
    ("option", "value", "variable"),
    [
        pytest.param("--profile", "large", "PROFILE=ha", id="profile"),
        pytest.param("--port", "65536", "PORT=9000", id="port"),
        pytest.param("--gateways", "none", "GATEWAYS=2", id="gateways"),
    ],
)
def test_a_wrong_option_is_one_sentence_that_names_makes_variable_too(
    tmp_path: Path, option: str, value: str, variable: str
) -> None:
    refused = runner("up", "--folder", tmp_path / "var", option, value)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert all(word in refused.stderr for word in (repr(value), option, variable))
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("name", ["gacha_svc-1", "account_svc-2", "registry-1", "gateway_http-1"])
def test_killed_process_returns_to_its_address(own_mesh: Mesh, name: str) -> None:
    before = {each["name"]: each for each in own_mesh.read()["processes"]}
    own_mesh.kill_process(name)
    after = {each["name"]: each for each in own_mesh.read()["processes"]}
    assert after[name]["pid"] != before[name]["pid"]
    assert after[name]["address"] == before[name]["address"]
    others = {other: each for other, each in before.items() if other != name}
    assert {other: each for other, each in after.items() if other != name} == others
    shown = f"{name} is ready again (pid {after[name]['pid']})"
    assert eventually(lambda: shown in own_mesh.output.read_text())


def test_killed_database_comes_back_under_the_services(own_mesh: Mesh) -> None:
    own_mesh.kill_process("postgres-account")

    def answers() -> bool:
        try:
            psycopg2.connect(own_mesh.database_url("account"), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    assert eventually(answers)
    assert eventually(lambda: is_ready(own_mesh))


def test_kill_of_the_runner_leaves_nothing_and_the_next_run_has_the_data(own_mesh: Mesh) -> None:
    everything = family(own_mesh.runner_pid)
    assert len(everything) > 9
    connection = psycopg2.connect(own_mesh.superuser_url("gacha"))
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (id int)")
    connection.close()
    before = own_mesh.read()
    own_mesh.kill()
    _, left = psutil.wait_procs(everything, timeout=10)
    assert left == []
    own_mesh.start_again()
    after = own_mesh.read()
    assert after["databases"] == before["databases"]
    assert after["registries"] == before["registries"]
    connection = psycopg2.connect(own_mesh.superuser_url("gacha"))
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kept")
        assert cursor.fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("asked_by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_asked_stop_leaves_nothing(own_mesh: Mesh, asked_by: signal.Signals) -> None:
    everything = family(own_mesh.runner_pid)
    os.kill(own_mesh.runner_pid, asked_by)
    assert own_mesh.stop() == 0
    assert [process for process in everything if process.is_running()] == []
    assert not own_mesh.layout.mesh.exists()
    log = (own_mesh.layout.logs / "postgres-account.log").read_text()
    assert log.rstrip().endswith("database system is shut down")
    assert "did not heed" not in own_mesh.output.read_text()
    own_mesh.start_again()


def test_detached_run_is_ready_when_up_returns_and_gone_when_down_does(own_mesh: Mesh) -> None:
    own_mesh.stop()
    folder = own_mesh.layout.folder
    started = runner("up", "--folder", folder, "--port", "0", "--detach", "--format", "json")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert json.loads(started.stdout)["gateway"] == own_mesh.read()["gateway"]
        assert "Everything is healthy" in started.stderr
        assert is_ready(own_mesh)
        pid = run_lock.holder_pid(own_mesh.layout.lock)
        assert pid is not None
        everything = family(pid)
    finally:
        stopped = runner("down", "--folder", folder)
    assert stopped.returncode == 0, stopped.stderr
    assert [process for process in everything if process.is_running()] == []
    asked = runner("status", "--folder", folder, "--format", "json")
    assert (asked.returncode, asked.stdout) == (3, "")
    assert "Nothing runs" in asked.stderr
    assert runner("down", "--folder", folder).returncode == 0


def test_clean_forgets_everything(own_mesh: Mesh) -> None:
    own_mesh.stop()
    folder = own_mesh.layout.folder
    assert json.loads(own_mesh.layout.ports.read_text())
    asked = runner("clean", "--folder", folder)
    assert asked.returncode == 1
    assert f"`gachactl clean --yes --folder {folder}`" in asked.stderr
    assert own_mesh.layout.ports.exists()
    deleted = runner("clean", "--yes", "--folder", folder)
    assert deleted.returncode == 0
    assert f"{folder} is deleted" in deleted.stderr
    assert not folder.exists()
    assert runner("clean", "--yes", "--folder", folder).returncode == 0


def test_clean_leaves_folders_alone_that_are_no_meshs(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    refused = runner("clean", "--folder", tmp_path)
    assert refused.returncode == 1
    assert (tmp_path / "thesis.txt").exists()
