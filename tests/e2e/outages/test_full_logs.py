"""Logs that cannot be written, as on a full disk: all work goes on, and the loss is said later.

RLIMIT_FSIZE 0 makes each write to a file fail, in a process that runs already. What the runner
starts meanwhile inherits the limit.
"""

import json
import os
import resource
import signal
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from uuid import uuid4

import psutil
import pytest

from proof import players
from proof.clients.rest_client import RestClient
from proof.invariants import broken_invariants
from proof.players import Player
from proof.stack import BUSY_MACHINE, Mesh, start_mesh
from tests.e2e import harm

TEMPLATE = "deploy.local.forking.template"
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.1
LIMITED = ("registry", "account_svc", "gacha_svc", "gateway_http")
"""The payment sandbox keeps its book in a file, which the limit would forbid as well."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = start_mesh(tmp_path_factory.mktemp("full") / "var", environment=BUSY_MACHINE)
    yield mesh
    assert mesh.stop() == 0


@pytest.fixture
def rest(mesh: Mesh) -> Iterator[RestClient]:
    client = RestClient(mesh.gateway, mesh.trust)
    yield client
    client.close()


def pids(mesh: Mesh) -> list[int]:
    """Of the processes of LIMITED; the runner's is not among them."""
    return [pid for name, pid in harm.pids(mesh).items() if name.startswith(LIMITED) and pid]


def starters(mesh: Mesh) -> list[int]:
    """The runner, and the process that it forks programs from; what they start has their limits."""
    children = psutil.Process(mesh.runner_pid).children()
    return [mesh.runner_pid, *(each.pid for each in children if TEMPLATE in each.cmdline())]


def limit_files(processes: Iterable[int], max_bytes: int) -> None:
    for pid in processes:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max_bytes, hard))


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_SECONDS)


def until_pulled(rest: RestClient, player: Player) -> None:
    key = str(uuid4())
    until(
        lambda: rest.pull(player.token, "standard", 1, key=key).ok, "the pull does not get through"
    )


def kill(mesh: Mesh, name: str) -> int:
    pid = harm.pids(mesh)[name]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def has_lost_lines(mesh: Mesh, name: str) -> bool:
    """Whether the process serves, and counts lines that it could not write."""
    [address] = [each["metrics"] for each in mesh.read()["processes"] if each["name"] == name]
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return False
    [line] = [each for each in lines if each.startswith("mesh_log_lines_lost_total ")]
    return float(line.split()[1]) > 0


def has_said_lost(mesh: Mesh, name: str) -> bool:
    lines = mesh.layout.log(name).read_text().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return any(event["event"] == "lose_log_lines" and event["count"] > 0 for event in events)


def is_new(mesh: Mesh, name: str, old_pid: int) -> bool:
    return harm.pids(mesh)[name] not in (None, old_pid)


@pytest.mark.timeout(240)
def test_all_work_goes_on_while_no_log_can_be_written(mesh: Mesh, rest: RestClient) -> None:
    player = players.register(rest, 10_000)
    limit_files(pids(mesh), 0)
    for name in ("postgres-gacha", "postgres-account"):
        mesh.kill_process(name)
        until_pulled(rest, player)
    # The runner cannot write either, and what it starts inherits that.
    assert len(starters(mesh)) == 2
    limit_files(starters(mesh), 0)
    killed = {name: kill(mesh, name) for name in ("account_svc-1", "gacha_svc-2")}
    for name in killed:
        until(partial(has_lost_lines, mesh, name), f"{name} was not started again")
    bought = str(uuid4())
    until(lambda: rest.buy_currency(player.token, 1_000, key=bought).ok, "nothing can be bought")
    until_pulled(rest, player)
    limit_files(starters(mesh), resource.RLIM_INFINITY)
    for name, old_pid in killed.items():
        until(partial(is_new, mesh, name, old_pid), f"{name} has its old pid")
    limit_files(pids(mesh), resource.RLIM_INFINITY)
    mesh.kill_process("account_svc-2")
    until_pulled(rest, player)
    until(lambda: has_said_lost(mesh, "registry-1"), "the registry does not say what it lost")
    until(lambda: has_said_lost(mesh, "gacha_svc-1"), "gacha_svc does not say what it lost")
    assert "messages could not be written here" in mesh.output.read_text()
    until(lambda: broken_invariants(mesh) == [], "transactions stay open")
