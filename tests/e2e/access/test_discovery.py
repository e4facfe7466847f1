"""What a client without a token can learn from each gRPC server."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from proof.clients.reflected import ReflectedServer
from proof.stack import Mesh

TIMEOUT_SECONDS = 10
HEALTH = "grpc.health.v1.Health"
REFLECTION = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
OWN_SERVICES = {
    "registry": [
        "envoy.service.discovery.v3.AggregatedDiscoveryService",
        "registry.v1.RegistryService",
    ],
    "account_svc": [
        "account.v1.AccountService",
        "account.v1.GiftFeeService",
        "account.v1.PaymentEventService",
        "account.v1.PurchaseService",
        "account.v1.SessionService",
        "account.v1.EndedSessionService",
        "account.v1.SigningKeyService",
        "tx.v1.ParticipantService",
    ],
    "gacha_svc": [
        "gacha.v1.CatalogService",
        "gacha.v1.GachaService",
        "gacha.v1.GiftService",
        "tx.v1.CoordinatorService",
        "tx.v1.ParticipantService",
    ],
}
INSTANCES = [("registry", 0), *((role, n) for role in ("account_svc", "gacha_svc") for n in (0, 1))]


@pytest.fixture(scope="module", params=INSTANCES, ids=lambda each: f"{each[0]}-{each[1] + 1}")
def server(request: pytest.FixtureRequest, mesh: Mesh) -> Iterator[tuple[str, ReflectedServer]]:
    """Each server of the mesh, with its role."""
    role, number = request.param
    with closing(ReflectedServer(mesh.processes(role)[number]["address"])) as reflected:
        yield role, reflected


def ask(server: ReflectedServer, service: str, **question: Any) -> Any:
    """Sends one reflection request, under either service name; the messages are the same."""
    call: grpc.StreamStreamMultiCallable[Any, Any] = server.channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = call(
        iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=TIMEOUT_SECONDS
    )
    return answer


@pytest.mark.parametrize("reflection", REFLECTION)
def test_reflection_lists_the_services(
    server: tuple[str, ReflectedServer], reflection: str
) -> None:
    role, reflected = server
    listed = ask(reflected, reflection, list_services="").list_services_response.service
    expected = sorted([*OWN_SERVICES[role], HEALTH, *REFLECTION])
    assert [service.name for service in listed] == expected
    assert reflected.services() == expected


@pytest.mark.parametrize("reflection", REFLECTION)
def test_reflection_describes_every_service_and_method_that_it_lists(
    server: tuple[str, ReflectedServer], reflection: str
) -> None:
    _, reflected = server
    for name in reflected.services():
        service = reflected.service(name)
        symbols = [name, *(method.full_name for method in service.methods)]
        symbols += [method.input_type.full_name for method in service.methods]
        for symbol in symbols:
            answer = ask(reflected, reflection, file_containing_symbol=symbol)
            assert answer.HasField("file_descriptor_response"), symbol


@pytest.mark.parametrize("reflection", REFLECTION)
def test_reflection_reports_unknown_symbols(
    server: tuple[str, ReflectedServer], reflection: str
) -> None:
    _, reflected = server
    for question in (
        {"file_containing_symbol": "nobody.v1.Nothing"},
        {"file_by_filename": "nowhere.proto"},
        {"file_containing_symbol": ""},
    ):
        answer = ask(reflected, reflection, **question)
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_reflection_tells_the_json_names_that_rest_uses(mesh: Mesh) -> None:
    address = mesh.processes("gacha_svc")[0]["address"]
    with closing(ReflectedServer(address)) as reflected:
        pull = reflected.method("gacha.v1.GachaService/Pull").output_type
        assert [field.json_name for field in pull.fields] == ["pulled_items"]
        banner = reflected.method("gacha.v1.CatalogService/GetBanner").output_type
        assert "oddsVersion" in [field.json_name for field in banner.fields]


def test_reflection_finds_options_and_the_details_of_errors(mesh: Mesh) -> None:
    address = mesh.processes("account_svc")[0]["address"]
    with closing(ReflectedServer(address)) as reflected:
        for service in REFLECTION:
            details = ask(reflected, service, file_containing_symbol="google.rpc.ErrorInfo")
            assert details.HasField("file_descriptor_response")
            asked = "google.protobuf.MethodOptions"
            numbers = ask(reflected, service, all_extension_numbers_of_type=asked)
            known = numbers.all_extension_numbers_response.extension_number
            assert {51001, 72295728} <= set(known)
            extension = {"containing_type": asked, "extension_number": 51001}
            found = ask(reflected, service, file_containing_extension=extension)
            assert found.HasField("file_descriptor_response")


def test_every_service_is_healthy_by_its_name(server: tuple[str, ReflectedServer]) -> None:
    role, reflected = server
    health = health_pb2_grpc.HealthStub(reflected.channel)
    for name in ["", *OWN_SERVICES[role]]:
        request = health_pb2.HealthCheckRequest(service=name)
        answer = health.Check(request, timeout=TIMEOUT_SECONDS)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = health.Watch(request, timeout=TIMEOUT_SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


def test_health_of_an_unknown_service_is_not_found(server: tuple[str, ReflectedServer]) -> None:
    _, reflected = server
    health = health_pb2_grpc.HealthStub(reflected.channel)
    request = health_pb2.HealthCheckRequest(service="nobody.v1.Nothing")
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(request, timeout=TIMEOUT_SECONDS)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    watch = health.Watch(request, timeout=TIMEOUT_SECONDS)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_registry_streams_the_list_to_anybody(mesh: Mesh) -> None:
    with closing(ReflectedServer(mesh.registry)) as reflected:
        call: grpc.UnaryStreamMultiCallable[bytes, bytes] = reflected.channel.unary_stream(
            "/registry.v1.RegistryService/Watch"
        )
        watch = call(b"", timeout=TIMEOUT_SECONDS)
        first = next(watch)
        watch.cancel()
    for role in ("account_svc", "gacha_svc"):
        for process in mesh.processes(role):
            assert process["name"].encode() in first
            assert process["address"].encode() in first
