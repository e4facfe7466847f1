"""The gateway's own state: /healthz and /readyz; gateway_http.pages.status shows it to people.

/healthz answers 200 while the process answers at all. /readyz answers 200 while every route
can be served: the gateway is not leaving, and each needed service has a live instance. Both
are cheap, and neither calls another process.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from gateway_http.exchange import LimitClass, Request, Response
from mesh.contract.instances import Instance
from mesh.errors import Unavailable

NO_STORE = [("cache-control", "no-store")]


class StatusSource(Protocol):
    """The known live instances; `mesh.membership.discovery.Directory` implements it."""

    def instances(self, service: str) -> tuple[Instance, ...]:
        """The live instances of a service, as the registry last reported them."""
        ...

    def services(self) -> tuple[str, ...]:
        """The services that have a live instance."""
        ...

    def age_seconds(self) -> float:
        """Seconds since the last message from the registry; infinite if there was none."""
        ...


class Presence:
    """The gateway's own state, which the shutdown changes and the pages show."""

    def __init__(self, instance_id: str, address: str, clock: Callable[[], float]) -> None:
        self.instance_id = instance_id
        self.address = address
        self.draining = False
        self._clock = clock
        self._started = clock()

    def uptime_seconds(self) -> float:
        return self._clock() - self._started


class HealthPage:
    """GET /healthz."""

    limit_class = LimitClass.UNLIMITED

    async def answer(self, _request: Request) -> Response:
        return Response(200, b'{"status":"ok"}', headers=NO_STORE)


class ReadyPage:
    """GET /readyz."""

    limit_class = LimitClass.UNLIMITED

    def __init__(self, needed: Iterable[str], source: StatusSource, presence: Presence) -> None:
        self._needed = tuple(needed)
        self._source = source
        self._presence = presence

    async def answer(self, _request: Request) -> Response:
        """Raises Unavailable with the reason NOT_READY, naming what is missing."""
        if self._presence.draining:
            raise Unavailable("This gateway is leaving.", reason="NOT_READY")
        missing = missing_services(self._needed, self._source)
        if missing:
            raise Unavailable(
                f"No live instance of {', '.join(missing)} is known.",
                reason="NOT_READY",
                retry_after_seconds=1.0,
            )
        return Response(200, b'{"status":"ready"}', headers=NO_STORE)


def missing_services(needed: Iterable[str], source: StatusSource) -> list[str]:
    """The services without an instance that takes calls."""
    return [
        service
        for service in needed
        if not any(instance.is_serving for instance in source.instances(service))
    ]
