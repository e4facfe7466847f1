"""The clients, each connected once to the mesh of the run, and players."""

from collections.abc import Iterator

import pytest

from proof import players
from proof.clients.client import ACCOUNT, CATALOG, GACHA, SESSIONS, Client
from proof.clients.grpc_client import GrpcClient
from proof.clients.grpcurl_client import GrpcurlClient
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from tests.e2e import harm, tools


def addresses(mesh: Mesh, number: int = 0) -> dict[str, str]:
    """The address of each service's instance of that number."""
    account_svc, gacha_svc = (
        mesh.processes(role)[number]["address"] for role in ("account_svc", "gacha_svc")
    )
    return {
        ACCOUNT: account_svc,
        SESSIONS: account_svc,
        CATALOG: gacha_svc,
        GACHA: gacha_svc,
    }


@pytest.fixture(scope="session")
def rest(mesh: Mesh) -> Iterator[RestClient]:
    """REST at the gateway."""
    client = RestClient(mesh.gateway, mesh.trust)
    yield client
    client.close()


@pytest.fixture(scope="session")
def first_instance(mesh: Mesh) -> Iterator[GrpcClient]:
    """gRPC directly to the first account_svc and the first gacha_svc."""
    client = GrpcClient(addresses(mesh, 0), mesh.operator_files)
    yield client
    client.close()


@pytest.fixture(scope="session")
def second_instance(mesh: Mesh) -> Iterator[GrpcClient]:
    """gRPC directly to the second instance of each."""
    client = GrpcClient(addresses(mesh, 1), mesh.operator_files)
    yield client
    client.close()


@pytest.fixture(scope="session", params=["rest", "rest-get", "grpc", "grpcurl"])
def client(request: pytest.FixtureRequest, mesh: Mesh) -> Iterator[Client]:
    """Each client in turn; rest-get pulls with GET and is otherwise REST."""
    client: Client
    if request.param == "grpc":
        client = GrpcClient(addresses(mesh), mesh.operator_files)
    elif request.param == "grpcurl":
        client = GrpcurlClient(tools.grpcurl(), addresses(mesh), mesh.operator_files)
    else:
        client = RestClient(mesh.gateway, mesh.trust, pulls_by_get=request.param == "rest-get")
    yield client
    client.close()


@pytest.fixture(scope="session")
def new_player(rest: RestClient) -> NewPlayer:
    """Makes players."""

    def make(gems: int = 0) -> Player:
        return players.register(rest, gems)

    return make


@pytest.fixture(scope="module")
def bystander(new_player: NewPlayer) -> Player:
    """A player without gems, whom the bad requests of others must not affect. The scope is a
    module, because a token expires during a whole run."""
    return new_player()


@pytest.fixture(scope="module")
def unharmed_mesh(mesh: Mesh, rest: RestClient) -> Iterator[None]:
    """Checks after a module that no process was restarted or taken out, and that all serve."""
    pids, breakers = harm.pids(mesh), harm.opened_breakers(mesh)
    yield
    assert harm.pids(mesh) == pids
    assert harm.opened_breakers(mesh) == breakers
    harm.assert_all_serve(mesh, rest)


@pytest.fixture
def answers_afterwards(rest: RestClient, bystander: Player) -> Iterator[None]:
    """Checks after a test that every instance answers a valid call."""
    yield
    harm.assert_answers(rest, bystander)
