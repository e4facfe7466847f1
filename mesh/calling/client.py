"""Calls one service of the mesh, on whichever instance answers.

An idempotent call is tried on an instance and then on the next, in the order
that mesh.calling.balancer decides, until one answers, none is left, or the deadline is
over. Any other call is sent once: before it is, a connection must stand, and
only if none can be made does it move on. What is not known to have stayed
here is never sent again.

What becomes of an attempt stands in mesh.calling.attempt_results.

When no instance is left, the last error is the call's if the instance answered; with
OVERLOADED if one was held off; and otherwise with ALL_INSTANCES_UNAVAILABLE. Whatever
UNAVAILABLE leaves here says that the one who passes it on serves: in a chain of calls
nobody's breaker counts what happened further behind.

A refusal is not the outcome of a call that changes something when an earlier attempt was
sent and not answered for good: that one may still take effect. It is answered as
OUTCOME_UNKNOWN, and the same idempotency key tells later.

An idempotent attempt's timeout is two seconds, or half of what is left if that
is less; the last ready instance may use all that is left. So an instance that
is frozen leaves time for the others.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from mesh.calling.attempt_results import is_overloaded, may_be_alive, may_go_on, result_of
from mesh.calling.balancer import Attempt, Balancer, Tries
from mesh.calling.breaker import AttemptResult, BreakerLimits
from mesh.calling.holdoffs import HoldOffs
from mesh.calling.transport import Transport
from mesh.calling.unary import UnaryTransport
from mesh.calls import ALL_INSTANCES_UNAVAILABLE, TRACEPARENT, Metadata
from mesh.contract.instances import Instance
from mesh.contract.terms import Terms, terms_of_path
from mesh.deadlines import Deadline
from mesh.errors import (
    DeadlineExceeded,
    DependencyAway,
    InDoubt,
    InvalidArgument,
    MeshError,
    Overloaded,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from mesh.tracing import current_traceparent

ATTEMPT_TIMEOUT_SECONDS = 2.0
PAUSES_SECONDS = (0.0, 0.02, 0.06)
"""Before the first, second and third attempt on one instance; jitter takes off up to half."""

_REFUSED_BY_ANYBODY = (InvalidArgument, Unauthenticated, PermissionDenied)
log = structlog.get_logger()


class AllInstancesUnavailable(DependencyAway):
    """No instance of a service is left to try."""

    REASON = ALL_INSTANCES_UNAVAILABLE


class ServiceOverloaded(ResourceExhausted):
    """Every instance that could answer has said lately that it has no room for such calls.

    It is no `Overloaded`: whoever passes it on may have begun something.
    """

    REASON = Overloaded.REASON


class InstanceList(Protocol):
    """Knows the live instances of each service; `mesh.membership.discovery.Directory` is one."""

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Those of one service, as last heard."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Has `changed` called after every change; the answer ends that."""
        ...


@dataclass(frozen=True, slots=True)
class _Sending:
    method: str
    request: bytes
    metadata: Metadata
    deadline: Deadline
    terms: Terms


class ServiceClient:
    """A `mesh.calls.SheddingCaller` for one service; use it in one event loop alone."""

    def __init__(
        self,
        service: str,
        directory: InstanceList,
        *,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        limits: BreakerLimits | None = None,
        attempt_timeout_seconds: float = ATTEMPT_TIMEOUT_SECONDS,
    ) -> None:
        """`transport` is unary calls unless given; the client closes it. `jitter` gives
        numbers in [0, 1)."""
        self._service = service
        self._directory = directory
        self._transport = transport or UnaryTransport()
        self._jitter = jitter
        self._attempt_timeout_seconds = attempt_timeout_seconds
        self._balancer = Balancer(clock, limits=limits, first_turn=int(jitter() * 1000))
        self._holdoffs = HoldOffs(clock, jitter)
        self._serving_ids: tuple[str, ...] = ()
        self._unsubscribe = directory.subscribe(self._take_instances)
        self._take_instances()

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """See `mesh.calls.Caller`."""
        traceparent = current_traceparent()
        if traceparent and TRACEPARENT not in metadata:
            metadata = {**metadata, TRACEPARENT: traceparent}
        sending = _Sending(method, request, metadata, deadline, terms_of_path(method))
        try:
            return await self._call(sending)
        except Unavailable as error:
            error.absolve_instance()
            raise

    def refuse_early(self, method: str) -> None:
        """See `mesh.calls.SheddingCaller`."""
        terms = terms_of_path(method)
        held = self._holdoffs.held(terms.work_kind)
        if held and all(each in held for each in self._serving_ids):
            raise self._overloaded(terms)

    async def _call(self, sending: _Sending) -> bytes:
        method, terms, deadline = sending.method, sending.terms, sending.deadline
        tries = Tries()
        cause: MeshError | None = None
        is_in_doubt = False
        while not deadline.is_over():
            tries.failed_on.update(self._holdoffs.held(terms.work_kind))
            attempt = self._balancer.pick(tries)
            if attempt is None:
                error = self._none_left(terms, cause)
                began_nothing = isinstance(error, ServiceOverloaded) or not may_be_alive(
                    error, method
                )
                if is_in_doubt and began_nothing:
                    raise InDoubt from error
                raise error from cause
            try:
                return await self._attempt(attempt, sending)
            except MeshError as error:
                if not may_go_on(error, method, terms):
                    if is_in_doubt and not isinstance(error, _REFUSED_BY_ANYBODY):
                        raise InDoubt from error
                    raise
                is_in_doubt = is_in_doubt or (terms.changes and may_be_alive(error, method))
                cause = error
        raise DeadlineExceeded(
            "The call's deadline has passed; repeat it to learn the outcome."
        ) from cause

    def open_instances(self) -> tuple[str, ...]:
        """The ids of the instances that are skipped now because they failed."""
        return self._balancer.open_instances()

    async def close(self) -> None:
        """Ends the calls under way and closes every connection."""
        self._unsubscribe()
        await self._transport.close()

    async def _attempt(self, attempt: Attempt, sending: _Sending) -> bytes:
        result = AttemptResult.GIVEN_UP
        try:
            await self._pause_before(attempt, sending.deadline)
            response = await self._send(attempt, sending)
            result = AttemptResult.ANSWERED
            return response
        except MeshError as error:
            result = result_of(error)
            if is_overloaded(error, sending.method):
                hint_seconds = error.retry_after_seconds
                self._holdoffs.begin(attempt.instance.id, sending.terms.work_kind, hint_seconds)
            raise
        finally:
            self._report(attempt, result)

    async def _send(self, attempt: Attempt, sending: _Sending) -> bytes:
        address = attempt.instance.address
        timeout_seconds = sending.deadline.remaining_seconds()
        if not attempt.is_last:
            timeout_seconds = min(self._attempt_timeout_seconds, timeout_seconds / 2)
        if not sending.terms.repeats:
            await self._transport.connect(address, timeout_seconds)
            timeout_seconds = sending.deadline.remaining_seconds()
        return await self._transport.call(
            address, sending.method, sending.request, sending.metadata, timeout_seconds
        )

    async def _pause_before(self, attempt: Attempt, deadline: Deadline) -> None:
        pause_seconds = PAUSES_SECONDS[attempt.number - 1]
        if pause_seconds > 0:
            jittered_seconds = pause_seconds * (1 - self._jitter() / 2)
            await asyncio.sleep(min(jittered_seconds, deadline.remaining_seconds()))

    def _report(self, attempt: Attempt, result: AttemptResult) -> None:
        was_open = attempt.breaker.is_open
        self._balancer.report(attempt, result)
        if attempt.breaker.is_open != was_open:
            event = "close_breaker" if was_open else "open_breaker"
            log.warning(event, service=self._service, target=attempt.instance.id)

    def _none_left(self, terms: Terms, cause: MeshError | None) -> MeshError:
        if self._holdoffs.held(terms.work_kind):
            return self._overloaded(terms)
        if cause is not None and result_of(cause) in (
            AttemptResult.ANSWERED,
            AttemptResult.GIVEN_UP,
        ):
            return cause
        return self._all_unavailable(cause)

    def _overloaded(self, terms: Terms) -> ServiceOverloaded:
        return ServiceOverloaded(
            f"{self._service} has as many calls of this kind as it can take; "
            "repeat the call in a moment.",
            retry_after_seconds=self._holdoffs.seconds_left(terms.work_kind),
        )

    def _all_unavailable(self, cause: MeshError | None) -> AllInstancesUnavailable:
        metadata = {"service": self._service}
        if cause is not None:
            metadata["cause"] = cause.reason
        return AllInstancesUnavailable(
            f"No instance of {self._service} can answer now; repeat the call in a moment.",
            metadata=metadata,
            retry_after_seconds=max(1.0, self._balancer.seconds_to_half_open()),
        )

    def _take_instances(self) -> None:
        instances = self._directory.instances(self._service)
        self._balancer.update(instances)
        self._serving_ids = tuple(each.id for each in instances if each.is_serving)
        self._holdoffs.retain(each.id for each in instances)
        self._transport.retain(instance.address for instance in instances)
