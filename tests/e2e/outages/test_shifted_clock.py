"""A mesh whose gacha database has a wrong clock: pulls are refused with the reason, health and logs
say it, and pulls go on once the clock is right."""

import re
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
from tests.storage.shifted_clock import restore_clock, shift_clock

AHEAD_SECONDS = 120.0
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.2
REASON = "DATABASE_CLOCK_DIFFERS"


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


SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_SECONDS)


def all_say(mesh: Mesh, state: int) -> bool:
    """Whether health says so at every gacha_svc."""
    return {health_of(each["address"]) for each in mesh.processes("gacha_svc")} == {state}


def health_of(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest(service="gacha.v1.GachaService")
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(request, timeout=PATIENCE_SECONDS).status)


def test_a_clock_that_is_ahead_is_reported_and_pulls_are_refused_until_it_is_right(
    mesh: Mesh, rest: RestClient
) -> None:
    player = players.register(rest, 10_000)
    assert rest.pull(player.token, "standard").ok

    in_gacha_database(mesh, lambda cursor: shift_clock(cursor, AHEAD_SECONDS))
    until(lambda: all_say(mesh, NOT_SERVING), "health still says SERVING")
    began_at = time.monotonic()
    refused = rest.pull(player.token, "standard")
    assert (refused.code, refused.reason) == ("UNAVAILABLE", REASON)
    told = re.search(r"clock is (\d+) s ahead", refused.message)
    assert told is not None
    assert int(told[1]) == pytest.approx(AHEAD_SECONDS, abs=5)
    assert time.monotonic() - began_at < 3
    for process in mesh.processes("gacha_svc"):
        log = mesh.layout.log(process["name"]).read_text()
        assert log.count('"exceed_clock_offset"') == 1

    in_gacha_database(mesh, restore_clock)
    until(lambda: all_say(mesh, SERVING), "health does not say SERVING again")
    assert rest.pull(player.token, "standard").ok
    assert broken_invariants(mesh) == []
