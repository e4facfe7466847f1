"""The list of instances as xDS resources."""

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as connection_pb2,
)

from mesh.contract.instances import Instance, InstanceState
from registry.rpc.xds.resources import CLUSTER, ENDPOINTS, LISTENER, assignments, configuration
from registry.rpc.xds.targets import Target

GACHA = Target("gacha_svc", ("gacha", "gacha_svc"), ("/g.G/List", "/g.G/Get"))
TARGETS = (GACHA, Target("registry", ("registry",), ()))


def unpacked(packed: Any, kind: Any) -> Any:
    message = kind()
    assert packed.Unpack(message)
    return message


def connection_of(name: str) -> Any:
    listener = unpacked(configuration(TARGETS)[LISTENER][name], Listener)
    assert listener.name == name
    return unpacked(listener.api_listener.api_listener, connection_pb2.HttpConnectionManager)


def endpoints_of(*entries: Instance) -> list[tuple[str, int, str]]:
    packed = assignments(TARGETS, entries)[ENDPOINTS]["gacha_svc"]
    assignment = unpacked(packed, ClusterLoadAssignment)
    assert assignment.cluster_name == "gacha_svc"
    for locality in assignment.endpoints:
        # gRPC leaves out a locality that has no weight, and refuses one without a name.
        assert locality.load_balancing_weight.value == 1
        assert locality.HasField("locality")
    return [
        (
            each.endpoint.address.socket_address.address,
            each.endpoint.address.socket_address.port_value,
            each.DESCRIPTOR.fields_by_name["health_status"]
            .enum_type.values_by_number[each.health_status]
            .name,
        )
        for locality in assignment.endpoints
        for each in locality.lb_endpoints
    ]


def entry(
    id: str, address: str, state: InstanceState = InstanceState.SERVING, service: str = "gacha_svc"
) -> Instance:
    return Instance(id, service, address, state)


def test_each_name_is_a_listener_and_each_service_a_cluster() -> None:
    resources = configuration(TARGETS)
    assert set(resources[LISTENER]) == {"gacha", "gacha_svc", "registry"}
    assert set(resources[CLUSTER]) == {"gacha_svc", "registry"}
    assert ENDPOINTS not in resources


@pytest.mark.parametrize("name", ["gacha", "gacha_svc"])
def test_repeatable_methods_have_their_own_routes_and_others_are_sent_once(name: str) -> None:
    (host,) = connection_of(name).route_config.virtual_hosts
    assert list(host.domains) == ["*"]
    *repeated, once = host.routes
    assert [route.match.path for route in repeated] == ["/g.G/List", "/g.G/Get"]
    for route in repeated:
        assert route.route.cluster == "gacha_svc"
        assert route.route.retry_policy.retry_on == "unavailable"
        assert route.route.retry_policy.num_retries.value == 2
    assert once.match.WhichOneof("path_specifier") == "prefix"
    assert (once.match.prefix, once.route.cluster) == ("", "gacha_svc")
    assert not once.route.HasField("retry_policy")
    assert not host.HasField("retry_policy")


def test_the_last_filter_is_the_router_as_grpc_demands() -> None:
    (last,) = connection_of("registry").http_filters
    unpacked(last.typed_config, Router)


def test_a_cluster_asks_the_same_stream_for_its_endpoints_and_leaves_half_of_them_in() -> None:
    cluster = unpacked(configuration(TARGETS)[CLUSTER]["gacha_svc"], Cluster)
    assert cluster.type == Cluster.EDS
    assert cluster.eds_cluster_config.eds_config.HasField("ads")
    assert cluster.lb_policy == Cluster.ROUND_ROBIN
    outliers = cluster.outlier_detection
    assert outliers.max_ejection_percent.value == 50
    assert outliers.failure_percentage_minimum_hosts.value == 2
    assert (outliers.HasField("enforcing_success_rate"), outliers.enforcing_success_rate.value) == (
        True,
        0,
    )


def test_instances_are_endpoints_and_draining_ones_are_marked() -> None:
    assert endpoints_of(
        entry("b", "127.0.0.1:2", InstanceState.DRAINING),
        entry("a", "127.0.0.1:1"),
        entry("c", "[::1]:3"),
        entry("x", "127.0.0.1:9", service="account_svc"),
    ) == [("127.0.0.1", 1, "HEALTHY"), ("127.0.0.1", 2, "DRAINING"), ("::1", 3, "HEALTHY")]


def test_a_service_without_instances_has_an_empty_assignment() -> None:
    assert endpoints_of() == []


def test_resources_that_would_make_grpc_refuse_all_are_left_out() -> None:
    assert endpoints_of(
        entry("a", "localhost:1"), entry("b", "gacha.mesh.local:2"), entry("c", "127.0.0.1:3")
    ) == [("127.0.0.1", 3, "HEALTHY")]


@pytest.mark.parametrize("ids", ["ab", "ba"])
def test_of_two_with_one_address_the_serving_one_counts(ids: str) -> None:
    assert endpoints_of(
        entry(ids[0], "127.0.0.1:1", InstanceState.DRAINING), entry(ids[1], "127.0.0.1:1")
    ) == [("127.0.0.1", 1, "HEALTHY")]


def test_the_same_list_gives_the_same_bytes() -> None:
    a, b = entry("a", "127.0.0.1:1"), entry("b", "127.0.0.1:2")
    assert assignments(TARGETS, (a, b)) == assignments(TARGETS, (b, a))
