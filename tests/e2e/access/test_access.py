"""The calls that authenticated services may make to one another.

All methods and callers are tested in test_authorization.py.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from proof.clients.client import ACCOUNT, CATALOG, GACHA, GIFTS, PURCHASES
from proof.clients.grpc_client import GrpcClient
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from proof.tokens import token_of

PARTICIPANT, COORDINATOR = "tx.v1.ParticipantService", "tx.v1.CoordinatorService"
GIFT_FEES = "account.v1.GiftFeeService"
REGISTRY = "registry.v1.RegistryService"


@pytest.fixture(scope="module")
def inside(mesh: Mesh) -> Iterator[GrpcClient]:
    """A client for the calls between processes of the mesh."""
    account, gacha = (mesh.processes(role)[0]["address"] for role in ("account_svc", "gacha_svc"))
    services = {ACCOUNT: account, PURCHASES: account, GIFT_FEES: account, PARTICIPANT: account}
    services |= {CATALOG: gacha, GACHA: gacha, GIFTS: gacha, COORDINATOR: gacha}
    with closing(GrpcClient({**services, REGISTRY: mesh.registry})) as client:
        yield client


@pytest.fixture
def service_token(mesh: Mesh) -> str:
    """A token of the coordinating service, for account_svc."""
    return token_of(mesh, "gacha_svc", "account_svc")


@pytest.fixture
def account_token(mesh: Mesh) -> str:
    """A token of the service whose recovery calls the coordinator."""
    return token_of(mesh, "account_svc", "gacha_svc")


def new_gid() -> str:
    return f"test:{time.time_ns() // 1_000_000}:{secrets.token_hex(8)}"


@pytest.mark.parametrize("callee", ["account_svc", "gacha_svc"])
def test_service_may_abort_and_list_branches(mesh: Mesh, callee: str) -> None:
    gid, token = new_gid(), token_of(mesh, "gacha_svc", callee)
    address = mesh.processes(callee)[0]["address"]
    with closing(GrpcClient({PARTICIPANT: address})) as participant:
        for _ in range(2):
            assert participant.call(f"{PARTICIPANT}/Abort", {"gid": gid}, token).ok
        assert participant.call(f"{PARTICIPANT}/ListBranches", {}, token).ok


def test_a_token_for_one_service_is_refused_by_another(mesh: Mesh) -> None:
    token = token_of(mesh, "gacha_svc", "gacha_svc")
    address = mesh.processes("account_svc")[0]["address"]
    with closing(GrpcClient({PARTICIPANT: address})) as participant:
        refused = participant.call(f"{PARTICIPANT}/ListBranches", {}, token)
    assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "WRONG_AUDIENCE")


def test_prepare_of_a_gid_that_was_aborted_is_refused(
    inside: GrpcClient, service_token: str, new_player: NewPlayer, rest: RestClient
) -> None:
    player, gid = new_player(gems=100), new_gid()
    assert inside.call(f"{PARTICIPANT}/Abort", {"gid": gid}, service_token).ok
    answer = inside.call(f"{PARTICIPANT}/Prepare", debit(player, gid), service_token)
    assert (answer.code, answer.reason) == ("ABORTED", "GID_USED")
    assert rest.currency(player.token).body["currencyBalance"] == 100


def test_prepare_at_the_deciding_service_needs_the_operations_for_a_redo(
    mesh: Mesh,
) -> None:
    """Committed without them, its pull could never be paid."""
    draw = {
        "@type": "type.googleapis.com/gacha.v1.Draw",
        "userId": str(uuid4()),
        "bannerId": "standard",
        "count": 1,
        "cost": 160,
        "oddsVersion": "v",
    }
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 10))
    operation = {"id": str(uuid4()), "body": draw}
    request = {"gid": new_gid(), "expiresAt": moment, "operations": [operation]}
    token = token_of(mesh, "gacha_svc", "gacha_svc")
    address = mesh.processes("gacha_svc")[0]["address"]
    with closing(GrpcClient({PARTICIPANT: address})) as gacha:
        answer = gacha.call(f"{PARTICIPANT}/Prepare", request, token)
    assert (answer.code, answer.fields) == ("INVALID_ARGUMENT", ("first_operations",))


def test_prepared_debit_takes_nothing_until_it_is_decided(
    inside: GrpcClient, service_token: str, new_player: NewPlayer, rest: RestClient
) -> None:
    player, gid = new_player(gems=100), new_gid()
    prepared = inside.call(f"{PARTICIPANT}/Prepare", debit(player, gid), service_token)
    assert prepared.ok, prepared
    (vote,) = prepared.body["votes"]
    assert vote["result"]["balanceAfter"] == "95"
    assert rest.currency(player.token).body["currencyBalance"] == 100
    assert inside.call(f"{PARTICIPANT}/Abort", {"gid": gid}, service_token).ok
    assert rest.currency(player.token).body["currencyBalance"] == 100
    assert rest.buy_currency(player.token, 1).body["newBalance"] == 101


def test_resolve_gives_the_same_outcome_permanently(inside: GrpcClient, account_token: str) -> None:
    gid = new_gid()
    for _ in range(3):
        answer = inside.call(f"{COORDINATOR}/Resolve", {"gid": gid}, account_token)
        assert answer.body == {"outcome": "OUTCOME_ABORT"}


def test_service_may_register_and_leave(inside: GrpcClient, mesh: Mesh) -> None:
    # No service calls gateways through the registry.
    token, name = token_of(mesh, "gateway_http", "registry"), f"gateway_http-{uuid4().hex[:8]}"
    instance = {"id": name, "service": "gateway_http", "address": "127.0.0.1:1"}
    lease = inside.call(f"{REGISTRY}/Register", {"instance": instance}, token).body
    asked = {"leaseId": lease["leaseId"]}
    assert inside.call(f"{REGISTRY}/Heartbeat", asked, token).ok
    listed = inside.call(f"{REGISTRY}/List", {"service": "gateway_http"}).body["instances"]
    assert name in [each["id"] for each in listed]
    for _ in range(2):
        assert inside.call(f"{REGISTRY}/Deregister", asked, token).ok
    gone = inside.call(f"{REGISTRY}/Heartbeat", asked, token)
    assert (gone.code, gone.reason) == ("NOT_FOUND", "LEASE_EXPIRED")


def test_service_may_not_register_for_another(inside: GrpcClient, mesh: Mesh) -> None:
    token = token_of(mesh, "gacha_svc", "registry")
    name = f"account_svc-{uuid4().hex[:8]}"
    instance = {"id": name, "service": "account_svc", "address": "127.0.0.1:1"}
    answer = inside.call(f"{REGISTRY}/Register", {"instance": instance}, token)
    assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "NOT_YOUR_SERVICE")


def test_a_refusal_names_the_allowed_callers(inside: GrpcClient, mesh: Mesh) -> None:
    token = token_of(mesh, "gacha_svc", "gacha_svc")
    refused = inside.call(f"{COORDINATOR}/Resolve", {"gid": new_gid()}, token)
    assert refused.reason == "WRONG_CALLER"
    assert "only for account_svc and admin" in refused.message
    assert "gacha_svc" in refused.message


def debit(player: Player, gid: str) -> dict[str, object]:
    """A Prepare that debits five gems."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 10))
    body = {"@type": "type.googleapis.com/account.v1.Debit", "userId": player.user_id, "amount": 5}
    operation = {"id": str(uuid4()), "body": body}
    return {"gid": gid, "expiresAt": moment, "operations": [operation]}
