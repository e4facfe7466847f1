"""A gRPC service as one process: the proto services that it offers, behind one server.

A service's composition root builds what is its own and hands it in here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from google.protobuf.descriptor import ServiceDescriptor

from mesh.contract.methods import methods_of
from mesh.contract.terms import WorkKind
from mesh.identity.auth import Authenticator
from mesh.identity.keys import PublicKeys
from mesh.process.config import ServiceSettings
from mesh.process.member import Member
from mesh.process.server import Server
from mesh.serving.dispatch import Dispatcher, Gate
from mesh.serving.metrics import RefusalMetrics

WARM_UP_SECONDS = 3.0
"""For how long a newcomer waits for what it needs. Then it serves all the same: it may be
what others wait for."""

Offered = Sequence[tuple[ServiceDescriptor, object]]
log = structlog.get_logger()


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What one service's process serves, and under which conditions.

    `offered` are proto services with their implementations. `is_ready` is asked every second
    whether all that the service depends on answers. `opened` are full names of methods, of
    those that may be opened, which anybody may call here. `gates` are as
    `mesh.serving.dispatch.Dispatcher` has them. `warm_up` returns when the process has what it
    needs to answer; it may raise NoRegistry.
    """

    offered: Offered
    player_keys: PublicKeys
    is_ready: Callable[[], Awaitable[bool]]
    opened: Collection[str] = ()
    gates: Mapping[WorkKind, Gate] = field(default_factory=dict)
    warm_up: Callable[[], Awaitable[None]] = _nothing


async def serve_service(member: Member, settings: ServiceSettings, service: Service) -> None:
    """Serves until a signal, then leaves in order. It listens once it knows of the others and
    has warmed up, or after WARM_UP_SECONDS. Raises ListenFailed."""
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
        player_keys=service.player_keys, service_keys=settings.service_keys().find
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
    )


async def _warm_up(member: Member, warm_up: Callable[[], Awaitable[None]]) -> None:
    """A process that listens may be called at once, by those who knew its predecessor at the
    address, and calls others for that."""
    try:
        async with asyncio.timeout(WARM_UP_SECONDS):
            if await member.know_others(WARM_UP_SECONDS):
                await warm_up()
    except TimeoutError:
        log.warning("miss_warm_up", waited_seconds=WARM_UP_SECONDS)
