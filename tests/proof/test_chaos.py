"""A short run of chaos, and a check that it can fail.

The long one is `make chaos`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from proof.chaos.call_log import CONNECTION_LOST, Call, ClientKind, figures
from proof.chaos.faults import Fault, Harm, faults_of
from proof.chaos.run import Chaos, FaultResult, invariants
from proof.load.seeded_players import make_players
from proof.stack import BUSY_MACHINE, RUNNER, Mesh, start_mesh
from tests.needs import need_etcd

FAULTS = (
    Fault(Harm.KILL, ("account_svc-1",)),
    Fault(Harm.KILL, ("gacha_svc-2",)),
    Fault(Harm.TERM, ("gateway_http-1",)),
    Fault(Harm.KILL, ("registry-1",)),
)
PLAYER_COUNT = 10


async def _run(mesh: Mesh, faults: Sequence[Fault], *, retries: bool = True) -> list[FaultResult]:
    chaos = Chaos(mesh, make_players(mesh, PLAYER_COUNT), seed=3, retries=retries)
    return [result async for result in chaos.run(faults, lambda: False)]


@pytest.mark.timeout(150)
async def test_no_caller_notices_that_a_process_was_lost(mesh: Mesh) -> None:
    result = await _run(mesh, FAULTS)
    assert {each.fault: each.errors for each in result} == {each: Counter() for each in FAULTS}
    assert all(each.figures.count for each in result), "there was a load"
    assert await invariants(mesh) == []


@pytest.fixture
def ha_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Registries over etcd, and certificates everywhere."""
    need_etcd()
    folder = tmp_path_factory.mktemp("ha") / "var"
    mesh = start_mesh(folder, (*RUNNER, "--profile", "ha"), BUSY_MACHINE)
    yield mesh
    assert mesh.stop() == 0


@pytest.mark.timeout(240)
async def test_no_caller_notices_that_all_registries_were_lost(ha_mesh: Mesh) -> None:
    members, registries = (
        tuple(each["name"] for each in ha_mesh.processes(role)) for role in ("etcd", "registry")
    )
    assert (len(members), len(registries)) == (3, 3)
    faults = [Fault(Harm.KILL, members, is_of_leader=True), Fault(Harm.KILL, registries)]
    result = await _run(ha_mesh, faults)
    assert [each.errors for each in result] == [Counter(), Counter()]
    assert all(each.figures.count for each in result), "there was a load"
    assert await invariants(ha_mesh) == []


@pytest.mark.timeout(120)
async def test_a_client_that_tries_one_instance_once_is_caught(mesh: Mesh) -> None:
    [result] = await _run(mesh, FAULTS[:1], retries=False)
    assert any(error.startswith(ClientKind.CLIENT) for error in result.errors), result.errors


@pytest.mark.timeout(30)
def test_every_process_but_the_databases_is_harmed_in_every_way(mesh: Mesh) -> None:
    harmed = {(fault.harm, name) for fault in faults_of(mesh) for name in fault.names}
    names = {each["name"] for each in mesh.read()["processes"] if each["role"] != "postgres"}
    assert harmed == {(harm, name) for harm in Harm for name in names}


@pytest.mark.parametrize(
    ("harm", "name", "cuts"),
    [
        (Harm.KILL, "gateway_http-1", True),
        (Harm.TERM, "gateway_http-1", False),
        (Harm.FREEZE, "gateway_http-1", False),
        (Harm.KILL, "gacha_svc-1", False),
    ],
)
def test_connections_are_cut_by_the_kill_of_a_gateway_alone(
    harm: Harm, name: str, cuts: bool
) -> None:
    assert Fault(harm, (name,)).cuts_connections is cuts


def test_figures_name_the_way_of_each_error() -> None:
    calls = [Call(ClientKind.REST, 0.0, 0.001 * number, "ok") for number in range(1, 201)]
    calls.append(Call(ClientKind.REST, 0.0, 9.0, CONNECTION_LOST))
    detail = figures(calls)
    assert (detail.count, detail.worst_seconds) == (201, 9.0)
    assert detail.p99_seconds == pytest.approx(0.199)
    assert detail.errors == {"rest: connection lost": 1}
