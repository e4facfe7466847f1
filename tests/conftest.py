"""Fixtures for all tests, and the order of tests."""

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from deploy.local.servers.ports import HIGHEST, LOWEST, RANGE_VARIABLE
from proof.etcd_cluster import EtcdCluster, start_etcd
from proof.leaks import find_leaks
from proof.postgres_server import PostgresServer, start_postgres
from proof.stack import BUSY_MACHINE, Mesh, start_mesh
from tests.needs import need_etcd

FOLDERS_BY_WEIGHT = ("proof", "e2e", "storage", "process", "unit", "architecture")
"""Programs that harm meshes, meshes of a module's own, databases, single processes, and what
starts none."""
MESHES_OF_THEIR_OWN = {
    *("test_local_runner", "test_tls", "test_rotation", "test_several_gateways"),
    *("test_ha_registries", "test_full_logs", "test_catalog_change"),
}
"""The modules of tests/e2e that start one; all others share the mesh of the run."""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One real PostgreSQL server for the whole run; take `database_url` for a database in it."""
    server = start_postgres(tmp_path_factory.mktemp("postgres"), "mesh")
    yield server
    server.stop()
    assert find_leaks(server.log) == []


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of the test's own."""
    name = f"test_{next(_numbers)}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def etcd_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """One real etcd of three members for the whole run; take `etcd_cluster`."""
    need_etcd()
    with start_etcd(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def etcd_cluster(etcd_of_the_run: EtcdCluster) -> Iterator[EtcdCluster]:
    """A healthy etcd; it is healed after each test. It may contain data of other tests, so use
    your own prefix."""
    yield etcd_of_the_run
    etcd_of_the_run.heal()


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One whole mesh for the whole run; tests that kill parts of it leave it healthy. It has no
    rate limits, because tests call faster than players may."""
    mesh = start_mesh(tmp_path_factory.mktemp("mesh") / "var", environment=BUSY_MACHINE)
    yield mesh
    assert mesh.stop() == 0


class ByModuleOrMesh(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """Runs a module's tests in one process, and all modules that share the run's mesh in one."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "mesh of the run" if _shares_mesh(module) else module


def pytest_configure() -> None:
    """Gives each test process its own range of ports, so that servers of two processes never
    collide."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        size = (HIGHEST - LOWEST) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        lowest = LOWEST + size * int(worker.removeprefix("gw"))
        os.environ[RANGE_VARIABLE] = f"{lowest}-{lowest + size}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByModuleOrMesh:
    return ByModuleOrMesh(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts tests by what they start, the slowest first, so that the short modules fill the gaps
    at the end when several processes run."""
    items.sort(key=_turn)


def _shares_mesh(nodeid: str) -> bool:
    path = Path(nodeid.partition("::")[0])
    return "e2e" in path.parts and path.stem not in MESHES_OF_THEIR_OWN


def _turn(item: pytest.Item) -> int:
    """0 for the mesh of the run, then by folder."""
    if _shares_mesh(item.nodeid):
        return 0
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return 1 + FOLDERS_BY_WEIGHT.index(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the skipped tests, one line for each reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} skipped: {reason}")
