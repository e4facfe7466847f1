"""A change of the catalog's file, as README says: one call puts it in force at every instance, at
once, and nothing is restarted."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from deploy.local.layout import REPOSITORY
from proof import players
from proof.clients.client import Client
from proof.clients.grpc_client import GrpcClient
from proof.clients.rest_client import RestClient
from proof.invariants import broken_invariants
from proof.stack import BUSY_MACHINE, Mesh, start_mesh
from tests.e2e import harm
from tests.e2e.conftest import addresses
from tests.e2e.scraping import scraped

SHIPPED = (REPOSITORY / "gacha_svc" / "catalog.yaml").read_text()
CHANGE_COUNT = 20


@pytest.fixture(scope="module")
def catalog_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("catalog") / "catalog.yaml"
    file.write_text(SHIPPED)
    return file


@pytest.fixture(scope="module")
def own_mesh(catalog_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh of its own, because its catalog is changed."""
    settings = {**BUSY_MACHINE, "GACHA_CATALOG_FILE": str(catalog_file)}
    mesh = start_mesh(tmp_path_factory.mktemp("changed") / "var", environment=settings)
    yield mesh
    assert mesh.stop() == 0


@pytest.fixture
def clients(own_mesh: Mesh) -> Iterator[list[Client]]:
    """REST at the gateway, and gRPC to each instance."""
    with (
        closing(RestClient(own_mesh.gateway, own_mesh.trust)) as rest,
        closing(GrpcClient(addresses(own_mesh, 0))) as first,
        closing(GrpcClient(addresses(own_mesh, 1))) as second,
    ):
        yield [rest, first, second]


def read_until(stop: threading.Event, mesh: Mesh) -> None:
    """Reads without a pause, so that the gateway always remembers an answer."""
    with closing(RestClient(mesh.gateway, mesh.trust)) as rest:
        while not stop.is_set():
            assert rest.items().ok
            assert rest.banners().ok


@pytest.fixture
def others_read(own_mesh: Mesh) -> Iterator[None]:
    """Two others read the catalog by the gateway all the time."""
    stop = threading.Event()
    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read_until, stop, own_mesh) for _ in range(2)]
        yield
        stop.set()
        for each in reading:
            each.result()


@pytest.mark.usefixtures("others_read")
def test_a_change_is_in_force_at_every_instance_at_once_without_a_restart(
    own_mesh: Mesh, clients: list[Client], catalog_file: Path
) -> None:
    player, pids = players.register(clients[0], 1_000_000), harm.pids(own_mesh)
    for number in range(CHANGE_COUNT):
        banner_id, name = f"event-{number}", f"Lamp {number}"
        changed = SHIPPED.replace("id: lamplighter", f"id: {banner_id}")
        catalog_file.write_text(changed.replace("Nightglass Crown", name))
        # Each instance in turn reads the file.
        assert clients[number % len(clients)].init_db().ok
        for client in clients:
            shown = client.banner(banner_id)
            assert shown.ok
            ultra_rares = shown.body["odds"][0]["items"]
            assert name in {each["name"] for each in ultra_rares}
            assert client.pull(player.token, banner_id).ok
            assert banner_id in {each["id"] for each in client.banners().body["banners"]}
            assert name in {each["name"] for each in client.items().body["items"]}
            assert client.banner(f"event-{number - 1}").reason == "BANNER_NOT_FOUND"
    assert harm.pids(own_mesh) == pids
    # The banner was the same all the time, under changing ids; its odds have one name.
    (gone,) = clients[1].banner_history("event-0").body["periods"]
    (present,) = clients[2].banner_history(f"event-{CHANGE_COUNT - 1}").body["periods"]
    assert gone["oddsVersion"] == present["oddsVersion"]
    assert gone["since"] < gone["until"] < present["since"]
    assert scraped(own_mesh, "gateway_http")["gateway_remembered_answers_total", "memory"] > 0
    assert broken_invariants(own_mesh) == []
