"""A mesh whose gacha database has a wrong clock: pulls go on, and logs and metrics tell it."""

import time
from collections.abc import Callable, Iterator

import grpc
import psycopg2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from proof import players
from proof.clients.rest_client import RestClient
from proof.invariants import broken_invariants
from proof.stack import BUSY_MACHINE, Mesh, start_mesh
from tests.e2e.scraping import families
from tests.storage.shifted_clock import restore_clock, shift_clock

AHEAD_SECONDS = 120.0
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.2
PULLS = 10


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = start_mesh(tmp_path_factory.mktemp("clock") / "var", environment=BUSY_MACHINE)
    yield mesh
    assert mesh.stop() == 0


@pytest.fixture
def rest(mesh: Mesh) -> Iterator[RestClient]:
    client = RestClient(mesh.gateway, mesh.trust)
    yield client
    client.close()


def in_gacha_database(mesh: Mesh, *works: Callable[[Cursor], None]) -> None:
    connection = psycopg2.connect(mesh.superuser_url("gacha"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        for work in works:
            work(cursor)
    connection.close()


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_SECONDS)


def health_of(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service="gacha.v1.GachaService")
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(request, timeout=PATIENCE_SECONDS).status)


def offsets(mesh: Mesh) -> list[float]:
    """How far the database's clock is ahead, by each gacha_svc."""
    return [
        sample.value
        for family in families(mesh, "gacha_svc")
        for sample in family.samples
        if sample.name == "database_clock_offset_seconds"
    ]


def count_in_logs(mesh: Mesh, event: str) -> list[int]:
    """How often each gacha_svc has logged the event."""
    logs = [mesh.layout.log(each["name"]).read_text() for each in mesh.processes("gacha_svc")]
    return [log.count(f'"{event}"') for log in logs]


def test_pulls_go_on_with_a_clock_that_is_ahead_and_the_offset_is_told(
    mesh: Mesh, rest: RestClient
) -> None:
    player = players.register(rest, 100_000)
    assert rest.pull(player.token, "standard").ok

    in_gacha_database(mesh, lambda cursor: shift_clock(cursor, AHEAD_SECONDS))
    until(lambda: set(count_in_logs(mesh, "exceed_clock_offset")) == {1}, "no log tells it")
    assert offsets(mesh) == pytest.approx([AHEAD_SECONDS] * 2, abs=5)
    for _ in range(PULLS):
        assert rest.pull(player.token, "standard").ok
    health = {health_of(each["address"]) for each in mesh.processes("gacha_svc")}
    assert health == {health_pb2.HealthCheckResponse.SERVING}
    assert broken_invariants(mesh) == []

    in_gacha_database(mesh, restore_clock)
    until(lambda: set(count_in_logs(mesh, "end_clock_offset")) == {1}, "no log tells the end")
    assert set(count_in_logs(mesh, "exceed_clock_offset")) == {1}
    assert rest.pull(player.token, "standard").ok
    assert len(rest.pulls(player.token).body["pulls"]) == PULLS + 2
    assert broken_invariants(mesh) == []
