"""The gateway process: `python -m gateway_http`.

Composition root: it builds the settings, the list of live instances, a client for each
service that the descriptors name, the routes, and the HTTP server. mesh.process.runtime
starts and stops the process: after SIGTERM or SIGINT, /readyz answers 503 and the registry
lists the gateway as draining; after a short wait the requests in flight finish, and the
process exits with 0.
"""

import socket
import time
from random import getrandbits

import structlog

from gateway_http.app import Gateway
from gateway_http.compose import Limits, compose_edge, compose_router
from gateway_http.config import GatewaySettings
from gateway_http.describing.pages import Presence
from gateway_http.edge.edge import Edge
from gateway_http.edge.operators import Operators
from gateway_http.edge.rate_limits.cache import CachedCounts
from gateway_http.edge.rate_limits.sharing import Sharing
from gateway_http.listening.bounds import Bounds
from gateway_http.listening.server import HttpServer
from gateway_http.listening.sockets import handed_socket, listening_socket
from gateway_http.listening.tls import CurrentCertificate
from gateway_http.serving import HttpFront
from gateway_http.transcoding.contracts import import_generated, load_contracts
from mesh.logs import configure_logs
from mesh.process.arguments import refuse_arguments
from mesh.process.member import Member
from mesh.process.runtime import Runtime, run
from mesh.settings_loading import load
from mesh.tls.certificates import CertificateMetrics, Certificates
from protos import DESCRIPTORS

SERVICE = "gateway_http"
FIRST_LIST_SECONDS = 3.0


async def serve(settings: GatewaySettings) -> None:
    """Serves until a signal. Raises ListenFailed when it cannot listen on the address."""
    async with Runtime(notice_seconds=settings.notice_seconds) as runtime:
        listener = _listener(settings)
        runtime.callback(listener.close)
        member = Member(runtime, settings, SERVICE)
        presence = Presence(settings.instance_id, _address_of(listener), time.monotonic)
        gateway = _gateway(runtime, settings, member, presence)
        # The registry may start later; until then /readyz names the missing services.
        await member.know_others(FIRST_LIST_SECONDS)

        def make_server() -> HttpServer:
            return _http_server(gateway, listener, settings, presence, member.certificate_metrics)

        await member.serve(HttpFront(runtime, presence, make_server))


def _listener(settings: GatewaySettings) -> socket.socket:
    if settings.listen_fd is None:
        return listening_socket(settings.listen)
    return handed_socket(settings.listen_fd)


def _address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _gateway(
    runtime: Runtime, settings: GatewaySettings, member: Member, presence: Presence
) -> Gateway:
    """The application: a client for each service that the descriptors name, and the routes."""
    descriptors = DESCRIPTORS.read_bytes()
    import_generated(descriptors)
    contracts = load_contracts(descriptors)
    router = compose_router(
        contracts,
        {host: member.client(host) for host in contracts.hosts()},
        member.directory,
        presence,
        limits=Limits(settings.max_body_bytes, settings.deadline_seconds),
        new_id=_new_id,
        operators=Operators(settings.service_keys().find),
        report_url=settings.report_url,
    )
    edge = compose_edge(settings, member.metrics)
    _share_limits(runtime, settings, edge)
    return Gateway(
        router,
        edge=edge,
        max_in_flight=settings.max_in_flight,
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


def _http_server(
    gateway: Gateway,
    listener: socket.socket,
    settings: GatewaySettings,
    presence: Presence,
    expiries: CertificateMetrics,
) -> HttpServer:
    """Serves HTTPS if there is a certificate, and plain HTTP otherwise."""
    files, certificate = settings.rest_files, None
    if files is not None:
        certificates = Certificates(files, observe_expiry=expiries.observer("rest"))
        certificate = CurrentCertificate(files, certificates)
    return HttpServer(
        gateway,
        listener,
        bounds=Bounds(
            max_body_bytes=settings.max_body_bytes, body_seconds=settings.deadline_seconds
        ),
        certificate=certificate,
        is_leaving=lambda: presence.draining,
    )


def _new_id() -> str:
    return f"{getrandbits(128):032x}"


def main() -> None:
    """Runs the process until it exits."""
    refuse_arguments("gateway_http")
    settings = load(GatewaySettings)
    configure_logs(settings.log_level, settings.instance_id)
    run(serve(settings))


if __name__ == "__main__":
    main()
