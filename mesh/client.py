"""Calls one service of the mesh, on whichever instance answers.

An idempotent call is tried on an instance and then on the next, in the order
that mesh.balancer decides, until one answers, none is left, or the deadline is
over. Any other call is sent once: before it is, a connection must stand, and
only if none can be made does it move on. What is not known to have stayed
here is never sent again.

What becomes of an attempt:

    the attempt ended with           for the breaker   an idempotent call
    -------------------------------  ----------------  -------------------------------------
    a response, or an error of the   an answer         ends with it
    request
    UNAVAILABLE sent by the server   a break           same instance again, then the next
    ALL_INSTANCES_UNAVAILABLE sent   an answer         ends with it: some service behind the
    by the server                                      instance is out, not the instance
    a broken connection              a break           same instance again, then the next
    DEADLINE_EXCEEDED sent by the    an answer         next instance
    server
    its own timeout                  a timeout         next instance
    the caller's cancellation        given up          ends

A refusal is not the outcome of a call that changes something when an earlier attempt was
sent and not answered for good: that one may still take effect. It is answered as
OUTCOME_UNKNOWN, and the same request id tells later.

An idempotent attempt's timeout is two seconds, or half of what is left if that
is less; the last ready instance may use all that is left. So an instance that
is frozen leaves time for the others.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import structlog
from google.protobuf import descriptor_pool

from mesh.balancer import Attempt, Balancer, Tries
from mesh.breaker import BreakerLimits, Outcome
from mesh.calls import ALL_INSTANCES_UNAVAILABLE, Metadata
from mesh.deadlines import Deadline
from mesh.errors import (
    DeadlineExceeded,
    InDoubt,
    InvalidArgument,
    MeshError,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from mesh.instances import Instance
from mesh.methods import changes_something, is_idempotent
from mesh.transport import ConnectionBroken, NoAnswer, Transport
from mesh.unary import UnaryTransport

ATTEMPT_TIMEOUT_SECONDS = 2.0
PAUSES_SECONDS = (0.0, 0.02, 0.06)
"""Before the first, second and third attempt on one instance; jitter takes off up to half."""

_REFUSED_BY_ANYBODY = (InvalidArgument, Unauthenticated, PermissionDenied)
log = structlog.get_logger()


class AllInstancesUnavailable(Unavailable):
    """No instance of a service is left to try."""

    REASON = ALL_INSTANCES_UNAVAILABLE


class InstanceList(Protocol):
    """Knows the live instances of each service; `mesh.discovery.Directory` is one."""

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
    repeats: bool
    changes: bool


class ServiceClient:
    """A `mesh.calls.Caller` for one service; use it in one event loop alone."""

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
        self._unsubscribe = directory.subscribe(self._take_instances)
        self._take_instances()

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """See `mesh.calls.Caller`."""
        sending = _Sending(method, request, metadata, deadline, *_promises(method))
        tries = Tries()
        cause: MeshError | None = None
        is_in_doubt = False
        while not deadline.is_over():
            attempt = self._balancer.pick(tries)
            if attempt is None:
                raise self._all_unavailable(cause) from cause
            try:
                return await self._attempt(attempt, sending)
            except MeshError as error:
                if not _may_go_on(error, repeats=sending.repeats):
                    if is_in_doubt and not isinstance(error, _REFUSED_BY_ANYBODY):
                        raise InDoubt from error
                    raise
                is_in_doubt = is_in_doubt or (sending.changes and _was_sent(error))
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
        outcome = Outcome.GIVEN_UP
        try:
            await self._pause_before(attempt, sending.deadline)
            response = await self._send(attempt, sending)
            outcome = Outcome.ANSWERED
            return response
        except MeshError as error:
            outcome = _outcome_of(error)
            raise
        finally:
            self._report(attempt, outcome)

    async def _send(self, attempt: Attempt, sending: _Sending) -> bytes:
        address = attempt.instance.address
        timeout_seconds = sending.deadline.remaining_seconds()
        if not attempt.is_last:
            timeout_seconds = min(self._attempt_timeout_seconds, timeout_seconds / 2)
        if not sending.repeats:
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

    def _report(self, attempt: Attempt, outcome: Outcome) -> None:
        was_open = attempt.breaker.is_open
        self._balancer.report(attempt, outcome)
        if attempt.breaker.is_open != was_open:
            event = "close_breaker" if was_open else "open_breaker"
            log.warning(event, service=self._service, target=attempt.instance.id)

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
        self._transport.retain(instance.address for instance in instances)


@cache
def _promises(method: str) -> tuple[bool, bool]:
    """Whether a gRPC path may be repeated, and whether it changes something, as its proto
    says; of an unknown method the worst is assumed."""
    try:
        found = descriptor_pool.Default().FindMethodByName(method.strip("/").replace("/", "."))
    except KeyError:
        return False, True
    return is_idempotent(found), changes_something(found)


def _was_sent(error: MeshError) -> bool:
    """Whether an attempt that failed so may have reached its instance."""
    return not isinstance(error, ConnectionBroken | NoAnswer) or error.was_sent


def _is_of_the_instance(error: MeshError) -> bool:
    """Whether UNAVAILABLE speaks of the instance, not of a service behind it."""
    return isinstance(error, Unavailable) and error.reason != AllInstancesUnavailable.REASON


def _outcome_of(error: MeshError) -> Outcome:
    if isinstance(error, NoAnswer):
        return Outcome.TIMED_OUT
    return Outcome.BROKE if _is_of_the_instance(error) else Outcome.ANSWERED


def _may_go_on(error: MeshError, *, repeats: bool) -> bool:
    """Whether the call may be sent again after this error."""
    if not _was_sent(error):
        return True
    return repeats and (isinstance(error, DeadlineExceeded) or _is_of_the_instance(error))
