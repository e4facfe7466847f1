"""The list of instances as xDS resources. Pure.

Each name of a target has a Listener with inline routes (gRFC A27). Each service has a Cluster
and a ClusterLoadAssignment. Listeners and clusters do not change while the process runs. Only
the assignments follow the list, so a change is one small message.

gRPC refuses a whole assignment if one address in it is not an IP address or occurs twice, so
such addresses are left out.
"""

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2, outlier_detection_pb2
from envoy.config.core.v3 import address_pb2, config_source_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as connection_pb2,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from mesh.contract.instances import Instance
from registry.rpc.xds.targets import Target

_PREFIX = "type.googleapis.com/envoy.config"
LISTENER = f"{_PREFIX}.listener.v3.Listener"
CLUSTER = f"{_PREFIX}.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}.endpoint.v3.ClusterLoadAssignment"

ATTEMPTS = 3
"""Attempts of a repeatable call, including the first one."""
MIN_PAUSE_MS, MAX_PAUSE_MS = 25, 250
"""Between attempts; gRPC waits a random part of it."""

OUTLIER_INTERVAL_MS = 2_000
OUTLIER_MIN_CALLS = 20
OUTLIER_FAILURE_PERCENT = 95
OUTLIER_MAX_EJECTED_PERCENT = 50
OUTLIER_EJECTION_MS = 5_000
OUTLIER_MAX_EJECTION_MS = 60_000

Resources = Mapping[str, Mapping[str, AnyMessage]]
"""Resources by type URL and name. A missing type is not known yet."""


def configuration(targets: Iterable[Target]) -> Resources:
    """The resources that depend only on the targets: listeners and clusters."""
    listeners: dict[str, AnyMessage] = {}
    clusters: dict[str, AnyMessage] = {}
    for target in targets:
        clusters[target.service] = _packed(_cluster(target.service))
        for name in target.names:
            listeners[name] = _packed(_listener(name, target))
    return {CLUSTER: clusters, LISTENER: listeners}


def assignments(targets: Iterable[Target], entries: Iterable[Instance]) -> Resources:
    """The addresses of each target's instances. A target without instances has an empty
    assignment: its calls fail at once, and clients are updated when an instance appears."""
    by_service: dict[str, list[Instance]] = {target.service: [] for target in targets}
    for entry in entries:
        if entry.service in by_service and is_reachable(entry):
            by_service[entry.service].append(entry)
    return {
        ENDPOINTS: {
            service: _packed(_assignment(service, instances))
            for service, instances in by_service.items()
        }
    }


def is_reachable(entry: Instance) -> bool:
    """Whether xDS accepts the address: only IP addresses."""
    try:
        ip_address(_host_of(entry))
    except ValueError:
        return False
    return True


def _listener(name: str, target: Target) -> Any:
    routes = route_pb2.RouteConfiguration(
        name=name,
        virtual_hosts=[
            route_components_pb2.VirtualHost(
                name=name,
                domains=["*"],
                routes=[*(_repeated(path, target) for path in target.repeatable), _once(target)],
            )
        ],
    )
    manager = connection_pb2.HttpConnectionManager(
        route_config=routes,
        http_filters=[
            connection_pb2.HttpFilter(name="router", typed_config=_packed(router_pb2.Router()))
        ],
    )
    listener = listener_pb2.Listener(name=name)
    listener.api_listener.api_listener.CopyFrom(_packed(manager))
    return listener


def _repeated(path: str, target: Target) -> Any:
    """The route of one repeatable method, which is retried at another instance."""
    policy = route_components_pb2.RetryPolicy(
        retry_on="unavailable",
        num_retries=UInt32Value(value=ATTEMPTS - 1),
        retry_back_off=route_components_pb2.RetryPolicy.RetryBackOff(
            base_interval=_duration(MIN_PAUSE_MS), max_interval=_duration(MAX_PAUSE_MS)
        ),
    )
    return route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(path=path),
        route=route_components_pb2.RouteAction(cluster=target.service, retry_policy=policy),
    )


def _once(target: Target) -> Any:
    """The route of all other methods. gRPC itself still retries calls that never left the
    client, which is safe."""
    return route_components_pb2.Route(
        match=route_components_pb2.RouteMatch(prefix=""),
        route=route_components_pb2.RouteAction(cluster=target.service),
    )


def _cluster(service: str) -> Any:
    cluster = cluster_pb2.Cluster(
        name=service,
        type=cluster_pb2.Cluster.EDS,
        lb_policy=cluster_pb2.Cluster.ROUND_ROBIN,
        outlier_detection=_outlier_detection(),
    )
    source = cluster.eds_cluster_config.eds_config
    source.ads.SetInParent()
    source.resource_api_version = config_source_pb2.ApiVersion.V3
    return cluster


def _outlier_detection() -> Any:
    """Outlier detection: a client ejects, for a while, an instance that fails nearly all calls.

    gRPC counts every status except OK as a failure, including players' mistakes. So the
    threshold is a share that mistakes hardly reach, and at least half of the instances stay in
    use. The success rate algorithm is off, because a mean of two or three instances means little.
    """
    return outlier_detection_pb2.OutlierDetection(
        interval=_duration(OUTLIER_INTERVAL_MS),
        base_ejection_time=_duration(OUTLIER_EJECTION_MS),
        max_ejection_time=_duration(OUTLIER_MAX_EJECTION_MS),
        max_ejection_percent=UInt32Value(value=OUTLIER_MAX_EJECTED_PERCENT),
        enforcing_success_rate=UInt32Value(value=0),
        failure_percentage_threshold=UInt32Value(value=OUTLIER_FAILURE_PERCENT),
        enforcing_failure_percentage=UInt32Value(value=100),
        failure_percentage_minimum_hosts=UInt32Value(value=2),
        failure_percentage_request_volume=UInt32Value(value=OUTLIER_MIN_CALLS),
    )


def _assignment(service: str, instances: Iterable[Instance]) -> Any:
    """A draining instance is marked as such, and gets no new calls. If two instances have the
    same address, for example after a restart under another name, a serving one is used."""
    by_address: dict[str, Instance] = {}
    for entry in sorted(instances, key=lambda entry: (entry.is_serving, entry.id)):
        by_address[entry.address] = entry
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=service)
    if by_address:
        assignment.endpoints.add(
            locality={"zone": "mesh"},
            load_balancing_weight=UInt32Value(value=1),
            lb_endpoints=[_endpoint(by_address[address]) for address in sorted(by_address)],
        )
    return assignment


def _endpoint(entry: Instance) -> Any:
    is_serving = entry.is_serving
    endpoint = endpoint_components_pb2.LbEndpoint(
        health_status=health_check_pb2.HEALTHY if is_serving else health_check_pb2.DRAINING
    )
    endpoint.endpoint.address.socket_address.CopyFrom(
        address_pb2.SocketAddress(
            address=_host_of(entry), port_value=int(entry.address.rpartition(":")[2])
        )
    )
    return endpoint


def _host_of(entry: Instance) -> str:
    return entry.address.rpartition(":")[0].strip("[]")


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message, deterministic=True)
    return packed


def _duration(milliseconds: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(milliseconds)
    return duration
