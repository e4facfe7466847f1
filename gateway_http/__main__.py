"""The gateway process: `python -m gateway_http [serve | check]`.

Composition root: it builds the settings, the list of live instances, a client for each
service that the descriptors name, the routes, and the HTTP server. mesh.process.runtime
starts and stops the process: after SIGTERM or SIGINT, /readyz answers 503 and the registry
lists the gateway as draining; after a short wait the requests in flight finish, and the
process exits with 0.
"""

import socket
import time
from collections.abc import Mapping
from random import getrandbits

import structlog

from gateway_http.app import Gateway
from gateway_http.compose import (
    Limits,
    compose_edge,
    compose_router,
    counted_memory,
    ended_connections,
)
from gateway_http.config import GatewaySettings
from gateway_http.describing.pages import Presence
from gateway_http.edge.edge import Edge
from gateway_http.edge.members import Members
from gateway_http.edge.rate_limits.cache import CachedCounts
from gateway_http.edge.rate_limits.sharing import Sharing
from gateway_http.listening.bounds import Bounds
from gateway_http.listening.server import HttpServer
from gateway_http.listening.sockets import handed_socket, listening_socket
from gateway_http.listening.tls import CurrentCertificate
from gateway_http.serving import HttpFront
from gateway_http.transcoding.contracts import Contracts, import_generated, load_contracts
from mesh.calling.client import ServiceClient
from mesh.identity.player_keys import PlayerKeySet
from mesh.identity.published_keys import PublishedKeys
from mesh.logs import configure_logs
from mesh.process.arguments import CHECK, read_command
from mesh.process.member import Member
from mesh.process.open_files import connections_allowed
from mesh.process.runtime import Runtime, run
from mesh.settings_loading import load
from mesh.tls.certificates import CertificateMetrics, Certificates
from protos import DESCRIPTORS

SERVICE = "gateway_http"
PLAYER_KEYS_HOST = "account_svc"
"""The service that publishes the keys of players' tokens."""
FIRST_LIST_SECONDS = 3.0


async def serve(settings: GatewaySettings) -> None:
    """Serves until a signal. Raises ListenFailed when it cannot listen on the address."""
    async with Runtime(notice_seconds=settings.notice_seconds) as runtime:
        listener = _listener(settings)
        runtime.callback(listener.close)
        member = Member(runtime, settings, SERVICE)
        presence = Presence(settings.instance_id, _address_of(listener), time.monotonic)
        bounds = _bounds(settings)
        contracts = _contracts()
        callers = {host: member.client(host) for host in contracts.hosts()}
        edge = _edge(runtime, settings, member, callers[PLAYER_KEYS_HOST])
        gateway = _gateway(settings, member, presence, edge, bounds, contracts, callers)
        # The registry may start later; until then /readyz names the missing services.
        await member.know_others(FIRST_LIST_SECONDS)

        def make_server() -> HttpServer:
            return HttpServer(
                gateway,
                listener,
                bounds=bounds,
                certificate=_certificate(settings, member.certificate_metrics),
                sites_of=edge.addresses.sites_of,
                count_end=ended_connections(member.metrics),
                is_leaving=lambda: presence.draining,
            )

        await member.serve(HttpFront(runtime, presence, make_server))


def _listener(settings: GatewaySettings) -> socket.socket:
    if settings.listen_fd is None:
        return listening_socket(settings.listen)
    return handed_socket(settings.listen_fd)


def _address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bounds(settings: GatewaySettings) -> Bounds:
    return Bounds(
        max_connections=connections_allowed(settings.max_connections),
        max_address_connections=settings.max_address_connections,
        max_address_unfinished=settings.max_address_connections // 4,
        max_body_bytes=settings.max_body_bytes,
        body_seconds=settings.deadline_seconds,
    )


def _contracts() -> Contracts:
    descriptors = DESCRIPTORS.read_bytes()
    import_generated(descriptors)
    return load_contracts(descriptors)


def _edge(
    runtime: Runtime, settings: GatewaySettings, member: Member, account_svc: ServiceClient
) -> Edge:
    """What is decided before a route; its limits follow the players whose keys account_svc
    publishes."""
    player_keys = PublishedKeys(PlayerKeySet(account_svc).fetch)
    edge = compose_edge(settings, member.metrics, player_keys.find_fetched)
    runtime.run_in_background(player_keys.keep_fetching)
    _share_limits(runtime, settings, edge)
    return edge


def _gateway(
    settings: GatewaySettings,
    member: Member,
    presence: Presence,
    edge: Edge,
    bounds: Bounds,
    contracts: Contracts,
    callers: Mapping[str, ServiceClient],
) -> Gateway:
    """The application with all routes; `callers` has a client for each service that the contracts
    name."""
    router = compose_router(
        contracts,
        callers,
        member.directory,
        presence,
        limits=Limits(settings.max_body_bytes, settings.deadline_seconds),
        new_id=_new_id,
        members=Members(settings.service_keys().find),
        memory=counted_memory(member.metrics),
        report_url=settings.report_url,
    )
    return Gateway(
        router,
        edge=edge,
        # Requests leave half of the connections to others, so that a probe always gets in.
        max_in_flight=min(settings.max_in_flight, bounds.max_connections // 2),
        new_id=_new_id,
        log=structlog.get_logger(),
    )


def _share_limits(runtime: Runtime, settings: GatewaySettings, edge: Edge) -> None:
    """Starts to share request counts with the other gateways, if a cache is configured."""
    if edge.limiter is None or not settings.cache_nodes:
        return
    sharing = Sharing(CachedCounts(settings.cache_nodes), edge.limiter.counters)
    runtime.push_async_callback(sharing.close)
    sharing.start()


def _certificate(
    settings: GatewaySettings, expiries: CertificateMetrics
) -> CurrentCertificate | None:
    """For HTTPS; None for plain HTTP."""
    if settings.rest_files is None:
        return None
    certificates = Certificates(settings.rest_files, observe_expiry=expiries.observer("rest"))
    return CurrentCertificate(settings.rest_files, certificates)


def _new_id() -> str:
    return f"{getrandbits(128):032x}"


def main() -> None:
    """Reads the arguments and the settings, and runs the process until it exits."""
    command = read_command("gateway_http")
    settings = load(GatewaySettings)
    if command == CHECK:
        return
    configure_logs(settings.log_level, settings.instance_id)
    run(serve(settings))


if __name__ == "__main__":
    main()
