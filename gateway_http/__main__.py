"""The gateway process: `python -m gateway_http`.

Composition root: settings, then the list of who is alive, then a client for each
service that the descriptors name, then the routes, then HTTP. SIGTERM and SIGINT
make it leave: /readyz says 503 and the registry says draining, callers get a moment
to notice, the requests under way end, and the process exits 0.
"""

import asyncio
import socket
import time
from random import getrandbits

import structlog

from gateway_http.app import Gateway
from gateway_http.compose import Limits, compose_router
from gateway_http.config import GatewaySettings
from gateway_http.describing.pages import Presence
from gateway_http.edge.edge import Edge, edge_of
from gateway_http.edge.rate_limits.cache import CachedCounts
from gateway_http.edge.rate_limits.sharing import Sharing
from gateway_http.listening.bounds import Bounds
from gateway_http.listening.server import HttpServer
from gateway_http.listening.sockets import handed_socket, listening_socket
from gateway_http.listening.tls import CurrentCertificate
from gateway_http.transcoding.contracts import import_generated, load_contracts
from mesh.calling.client import ServiceClient
from mesh.calling.unary import UnaryTransport
from mesh.contract.instances import Instance
from mesh.lanes.transport import LaneTransport
from mesh.logs import configure_logs
from mesh.membership.discovery import Directory, NoRegistry
from mesh.membership.registration import Registration
from mesh.process.config import load
from mesh.process.lifecycle import (
    DRAIN_SECONDS,
    keep_what_was_built_out_of_collections,
    run,
    stop_signal,
)
from mesh.process.metrics import LaneMetrics, metrics_served, process_registry
from mesh.tls.certificates import CertificateMetrics, Certificates
from mesh.tls.security import security_of
from protos import DESCRIPTORS

SERVICE = "gateway_http"
FIRST_LIST_SECONDS = 3.0
FIRST_REQUEST_SECONDS = 0.3
"""How long a connection that was the last to be accepted has to send its request."""


async def serve(settings: GatewaySettings) -> None:
    """Serves until a signal. Raises ListenFailed when the address cannot be had."""
    log = structlog.get_logger()
    stop = stop_signal()
    listener = (
        listening_socket(settings.listen)
        if settings.listen_fd is None
        else handed_socket(settings.listen_fd)
    )
    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    descriptors = DESCRIPTORS.read_bytes()
    import_generated(descriptors)
    contracts = load_contracts(descriptors)
    identity = settings.identity(SERVICE)
    metrics = process_registry()
    expiries = CertificateMetrics(metrics)
    security = security_of(settings, expiries)
    directory = Directory(settings.registry_addresses(), identity.token, security=security)
    directory.start()
    observe_calls = LaneMetrics(metrics).observe_calls
    clients = {
        host: ServiceClient(
            host,
            directory,
            transport=LaneTransport(identity.token, security=security, observe_calls=observe_calls),
        )
        for host in contracts.hosts()
    }
    presence = Presence(settings.instance_id, address, time.monotonic)
    router = compose_router(
        contracts,
        clients,
        directory,
        presence,
        limits=Limits(settings.max_body_bytes, settings.deadline_seconds),
        new_id=_new_id,
    )
    edge = edge_of(settings, metrics)
    sharing = _sharing(settings, edge)
    gateway = Gateway(
        router,
        edge=edge,
        max_in_flight=settings.max_in_flight,
        new_id=_new_id,
        log=log,
    )
    try:
        await directory.first_snapshot(FIRST_LIST_SECONDS)
    except NoRegistry as error:
        # It may come later; until then /readyz says what is missing.
        log.warning("miss_registry", error=error.message)
    try:
        with metrics_served(settings.metrics_listen, metrics) as metrics_address:
            registration = Registration(
                Instance(settings.instance_id, SERVICE, address, metrics_address=metrics_address),
                settings.registry_addresses(),
                identity.token,
                transport=UnaryTransport(security=security),
            )
            server = _http_server(gateway, listener, settings, presence, expiries)
            await _serve_until(stop, server, presence, registration, settings.notice_seconds)
    finally:
        if sharing is not None:
            await sharing.close()
        for client in clients.values():
            await client.close()
        await directory.close()
        await security.close()


def _http_server(
    gateway: Gateway,
    listener: socket.socket,
    settings: GatewaySettings,
    presence: Presence,
    expiries: CertificateMetrics,
) -> HttpServer:
    """Of HTTPS where there is a certificate, and otherwise of plain HTTP."""
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


def _sharing(settings: GatewaySettings, edge: Edge) -> Sharing | None:
    """Begins to count together with the other gateways, where there is a cache to do it by."""
    if edge.limiter is None or not settings.cache_nodes:
        return None
    sharing = Sharing(CachedCounts(settings.cache_nodes), edge.limiter.counters)
    sharing.start()
    return sharing


async def _serve_until(
    stop: asyncio.Event,
    server: HttpServer,
    presence: Presence,
    registration: Registration,
    notice_seconds: float,
) -> None:
    log = structlog.get_logger()
    serving = asyncio.create_task(server.serve(), name="http")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    registration.start()
    keep_what_was_built_out_of_collections()
    log.info("serve", address=presence.address)
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    presence.draining = True
    log.info("drain", in_order=stopping.done())
    await registration.drain()
    if stopping.done():
        await asyncio.sleep(notice_seconds)
        server.stop_accepting()
        await asyncio.sleep(FIRST_REQUEST_SECONDS)
        server.leave()
        await asyncio.wait((serving,), timeout=DRAIN_SECONDS)
    await registration.deregister()
    stopping.cancel()
    if serving.done():
        await serving
    log.info("leave", finished=serving.done())
    if not stop.is_set():
        raise RuntimeError("the HTTP server ended by itself")


def _new_id() -> str:
    return f"{getrandbits(128):032x}"


def main() -> None:
    """Runs the process to its end."""
    settings = load(GatewaySettings)
    configure_logs(settings.log_level, settings.instance_id)
    run(serve(settings))


if __name__ == "__main__":
    main()
