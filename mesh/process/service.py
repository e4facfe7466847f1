"""Runs a gRPC service as one process: its proto services behind one server.

The service's composition root builds its own parts and passes them in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from google.protobuf.descriptor import ServiceDescriptor

from mesh.contract.method_config import WorkKind
from mesh.contract.methods import methods_of
from mesh.identity.auth import Authenticator, HasEnded
from mesh.identity.keys import PublicKeys
from mesh.process.config import ServiceSettings
from mesh.process.member import Member
from mesh.process.server import Server
from mesh.serving.dispatch import Dispatcher, Gate
from mesh.serving.metrics import ConnectionMetrics, RefusalMetrics

WARM_UP_SECONDS = 3.0
"""How long a new process waits for its dependencies. Then it serves anyway, because others may
be waiting for it."""

Offered = Sequence[tuple[ServiceDescriptor, object]]
log = structlog.get_logger()


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The parts of one service's process.

    `offered` are proto services with their implementations. `player_keys` and `has_ended` are
    those of `mesh.identity.auth.Authenticator`. `is_ready` is called every second
    and returns whether all dependencies answer. `opened` has the full names of methods that
    this process makes public; their protos must allow it. `gates` are those of
    `mesh.serving.dispatch.Dispatcher`. `warm_up` returns when the process has what it needs to
    serve; it may raise NoRegistry.
    """

    offered: Offered
    player_keys: PublicKeys
    has_ended: HasEnded
    is_ready: Callable[[], Awaitable[bool]]
    opened: Collection[str] = ()
    gates: Mapping[WorkKind, Gate] = field(default_factory=dict)
    warm_up: Callable[[], Awaitable[None]] = _nothing


async def serve_service(member: Member, settings: ServiceSettings, service: Service) -> None:
    """Serves until a signal, then shuts down gracefully. It starts to listen when it has the
    registry's list and has warmed up, or after WARM_UP_SECONDS. Raises ListenFailed."""
    server = _server(member, settings, service)
    await _warm_up(member, service.warm_up)
    await member.serve(server)


def _server(member: Member, settings: ServiceSettings, service: Service) -> Server:
    methods = [
        method
        for descriptor, implementation in service.offered
        for method in methods_of(descriptor, implementation, service.opened)
    ]
    authenticator = Authenticator(
        member.service,
        player_keys=service.player_keys,
        service_keys=settings.service_keys().find,
        has_ended=service.has_ended,
    )
    dispatcher = Dispatcher(
        methods,
        authenticator,
        gates=service.gates,
        count_refusal=RefusalMetrics(member.metrics).count,
    )
    return Server(
        settings.listen,
        [descriptor.full_name for descriptor, _ in service.offered],
        dispatcher,
        service.is_ready,
        security=member.security,
        observe_replies=member.lane_metrics.observe_replies,
        observe_connections=ConnectionMetrics(member.metrics).observe,
    )


async def _warm_up(member: Member, warm_up: Callable[[], Awaitable[None]]) -> None:
    """Waits for the directory and the warm-up before the process listens. Callers that knew
    its predecessor at the address call it at once, and it needs other services to answer."""
    try:
        async with asyncio.timeout(WARM_UP_SECONDS):
            if await member.know_others(WARM_UP_SECONDS):
                await warm_up()
    except TimeoutError:
        log.warning("miss_warm_up", waited_seconds=WARM_UP_SECONDS)
