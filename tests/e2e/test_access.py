"""Who may call what: each method's rule stands in its proto, and every server keeps to it."""

import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from mesh.auth import ServiceIdentity, load_private_key
from mesh.methods import Access
from protos import DESCRIPTORS
from protos.mesh.v1 import options_pb2
from tests.e2e.clients.answers import Answer
from tests.e2e.clients.client import ACCOUNT, GACHA, GIFTS, PURCHASES
from tests.e2e.clients.grpc_client import GrpcClient
from tests.e2e.clients.rest_client import RestClient
from tests.e2e.players import NewPlayer, Player
from tests.stack import Mesh

PARTICIPANT, COORDINATOR = "tx.v1.ParticipantService", "tx.v1.CoordinatorService"
GIFT_FEES = "account.v1.GiftFeeService"
PAYMENT_EVENTS = "account.v1.PaymentEventService"
REGISTRY = "registry.v1.RegistryService"
LANES = "mesh.v1.LaneService"

# Written out once more, so that a rule in a proto is not loosened by mistake.
RULES = {
    f"{ACCOUNT}/Register": Access.PUBLIC,
    f"{ACCOUNT}/Login": Access.PUBLIC,
    f"{ACCOUNT}/GetKeySet": Access.PUBLIC,
    f"{ACCOUNT}/GetCurrency": Access.PLAYER,
    f"{ACCOUNT}/BuyCurrency": Access.PLAYER,
    f"{ACCOUNT}/ListLedger": Access.PLAYER,
    f"{GACHA}/InitDb": Access.PUBLIC,
    f"{GACHA}/ListItems": Access.PUBLIC,
    f"{GACHA}/GetChances": Access.PUBLIC,
    f"{GACHA}/ListBanners": Access.PUBLIC,
    f"{GACHA}/GetBanner": Access.PUBLIC,
    f"{GACHA}/Pull": Access.PLAYER,
    f"{GACHA}/GetInventory": Access.PLAYER,
    f"{GACHA}/ListPulls": Access.PLAYER,
    f"{PURCHASES}/GetPurchase": Access.PLAYER,
    f"{PURCHASES}/ListPurchases": Access.PLAYER,
    f"{PAYMENT_EVENTS}/ReceivePaymentEvent": Access.PUBLIC,
    f"{GIFTS}/SendGift": Access.PLAYER,
    f"{GIFTS}/GetGift": Access.PLAYER,
    f"{GIFTS}/ListGifts": Access.PLAYER,
    f"{GIFT_FEES}/FindPlayers": Access.SERVICE,
    f"{GIFT_FEES}/ChargeGiftFee": Access.SERVICE,
    f"{GIFT_FEES}/RefundGiftFee": Access.SERVICE,
    f"{PARTICIPANT}/Prepare": Access.SERVICE,
    f"{PARTICIPANT}/Commit": Access.SERVICE,
    f"{PARTICIPANT}/Abort": Access.SERVICE,
    f"{PARTICIPANT}/ListBranches": Access.SERVICE,
    f"{PARTICIPANT}/Redo": Access.SERVICE,
    f"{COORDINATOR}/Resolve": Access.SERVICE,
    f"{COORDINATOR}/ListDecisions": Access.SERVICE,
    f"{COORDINATOR}/GetOperations": Access.SERVICE,
    f"{REGISTRY}/Register": Access.SERVICE,
    f"{REGISTRY}/Heartbeat": Access.SERVICE,
    f"{REGISTRY}/Deregister": Access.SERVICE,
    f"{REGISTRY}/List": Access.PUBLIC,
    f"{REGISTRY}/Watch": Access.PUBLIC,
    f"{LANES}/Exchange": Access.SERVICE,
}
STREAMS = {f"{REGISTRY}/Watch", f"{LANES}/Exchange"}
UNARY = {path: access for path, access in RULES.items() if path not in STREAMS}
OF_SERVICES = [path for path, access in UNARY.items() if access is Access.SERVICE]
OF_PLAYERS = [path for path, access in UNARY.items() if access is Access.PLAYER]
# Public, but for whoever signs: tests/e2e/test_payment_webhooks.py.
SIGNED = {f"{PAYMENT_EVENTS}/ReceivePaymentEvent"}
OF_EVERYBODY = [
    path for path, access in UNARY.items() if access is Access.PUBLIC and path not in SIGNED
]


@pytest.fixture(scope="module", params=["account_svc", "gacha_svc"])
def participant(request: pytest.FixtureRequest, mesh: Mesh) -> Iterator[GrpcClient]:
    address = mesh.processes(request.param)[0]["address"]
    with closing(GrpcClient({PARTICIPANT: address})) as client:
        yield client


@pytest.fixture(scope="module")
def inside(mesh: Mesh) -> Iterator[GrpcClient]:
    """Everything that one process of the mesh may call on another."""
    account, gacha = (mesh.processes(role)[0]["address"] for role in ("account_svc", "gacha_svc"))
    services = {ACCOUNT: account, PURCHASES: account, GIFT_FEES: account, PARTICIPANT: account}
    services |= {GACHA: gacha, GIFTS: gacha, COORDINATOR: gacha}
    with closing(GrpcClient({**services, REGISTRY: mesh.registry})) as client:
        yield client


@pytest.fixture(scope="module")
def service_token(mesh: Mesh) -> str:
    key = load_private_key((mesh.layout.secrets / "mesh_service_key.pem").read_bytes())
    return ServiceIdentity(key, "gacha_svc").token()


def code_of(answer: Answer | bytes) -> str:
    return answer.code if isinstance(answer, Answer) else "OK"


def new_gid() -> str:
    return f"test:{time.time_ns() // 1_000_000}:{secrets.token_hex(8)}"


def test_every_method_of_every_proto_has_the_rule_that_is_written_here() -> None:
    files = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file
    declared = {
        f"{file.package}.{service.name}/{method.name}": Access(
            method.options.Extensions[options_pb2.access]
        )
        for file in files
        for service in file.service
        for method in service.method
    }
    assert declared == RULES
    assert Access.NOBODY not in declared.values()


@pytest.mark.parametrize("path", OF_SERVICES)
def test_methods_of_services_are_closed_to_everybody_else(
    inside: GrpcClient, bystander: Player, path: str
) -> None:
    assert code_of(inside.send(path, b"")) == "UNAUTHENTICATED"
    assert code_of(inside.send(path, b"", "not.a.token")) == "UNAUTHENTICATED"
    assert code_of(inside.send(path, b"", bystander.token)) == "PERMISSION_DENIED"


@pytest.mark.parametrize("path", OF_PLAYERS)
def test_methods_of_players_are_closed_to_everybody_else(
    inside: GrpcClient, service_token: str, path: str
) -> None:
    assert code_of(inside.send(path, b"")) == "UNAUTHENTICATED"
    assert code_of(inside.send(path, b"", service_token)) == "PERMISSION_DENIED"


@pytest.mark.parametrize("path", OF_EVERYBODY)
def test_methods_of_everybody_ask_for_no_token(inside: GrpcClient, path: str) -> None:
    assert code_of(inside.send(path, b"")) in {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


def test_rest_reaches_no_method_of_services(rest: RestClient, service_token: str) -> None:
    headers = {"authorization": f"Bearer {service_token}"}
    for path in OF_SERVICES:
        assert rest.http.post(f"/{path}", json={}, headers=headers).status_code == 404


def test_service_may_abort_and_list_branches(participant: GrpcClient, service_token: str) -> None:
    gid = new_gid()
    for _ in range(2):
        assert participant.call(f"{PARTICIPANT}/Abort", {"gid": gid}, service_token).ok
    assert participant.call(f"{PARTICIPANT}/ListBranches", {}, service_token).ok


def test_prepare_of_a_gid_that_was_aborted_is_refused(
    inside: GrpcClient, service_token: str, new_player: NewPlayer, rest: RestClient
) -> None:
    player, gid = new_player(gems=100), new_gid()
    assert inside.call(f"{PARTICIPANT}/Abort", {"gid": gid}, service_token).ok
    answer = inside.call(f"{PARTICIPANT}/Prepare", debit(player, gid), service_token)
    assert (answer.code, answer.reason) == ("ABORTED", "GID_USED")
    assert rest.currency(player.token).body["currencyBalance"] == 100


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


def test_resolve_gives_the_same_outcome_for_ever(inside: GrpcClient, service_token: str) -> None:
    gid = new_gid()
    for _ in range(3):
        answer = inside.call(f"{COORDINATOR}/Resolve", {"gid": gid}, service_token)
        assert answer.body == {"outcome": "OUTCOME_ABORT"}


def test_service_may_register_and_leave(inside: GrpcClient, service_token: str) -> None:
    instance = {"id": f"probe-{uuid4().hex[:8]}", "service": "probe", "address": "127.0.0.1:1"}
    lease = inside.call(f"{REGISTRY}/Register", {"instance": instance}, service_token).body
    asked = {"leaseId": lease["leaseId"]}
    assert inside.call(f"{REGISTRY}/Heartbeat", asked, service_token).ok
    listed = inside.call(f"{REGISTRY}/List", {"service": "probe"}).body["instances"]
    assert instance["id"] in [each["id"] for each in listed]
    for _ in range(2):
        assert inside.call(f"{REGISTRY}/Deregister", asked, service_token).ok
    gone = inside.call(f"{REGISTRY}/Heartbeat", asked, service_token)
    assert (gone.code, gone.reason) == ("NOT_FOUND", "LEASE_EXPIRED")


def debit(player: Player, gid: str) -> dict[str, object]:
    """A Prepare that takes five gems."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 10))
    body = {"@type": "type.googleapis.com/account.v1.Debit", "userId": player.user_id, "amount": 5}
    operation = {"id": str(uuid4()), "body": body}
    return {"gid": gid, "expiresAt": moment, "coordinator": "test", "operations": [operation]}
