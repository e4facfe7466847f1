"""Calls one service of the mesh: balancing, retries and hold-offs over its instances.

An idempotent call is tried on one instance after the other, in the order of
mesh.calling.balancer, until one answers, no instance is left, or the deadline passes. Any
other call is sent once: the client first makes sure that a connection stands, and moves on
to the next instance only if none can be made. Such a call is never sent again unless it is
known not to have been sent.

mesh.calling.attempt_results says what each error of an attempt means.

If no instance is left, the call ends with the first of these that applies: OVERLOADED if an
instance is held off; the last error if the instance answered; ALL_INSTANCES_UNAVAILABLE. Every
UNAVAILABLE that leaves this client is marked as not the fault of the process that passes it
on. In a chain of calls, therefore, no breaker counts a failure further behind.

If a call may change something and an earlier attempt was sent but never answered, a later
refusal is not the outcome: the earlier attempt may still take effect. The call then ends with
OUTCOME_UNKNOWN; a repeat with the same idempotency key returns the outcome later.

The timeout of an attempt is two seconds, or half of the time left if that is less. The last
ready instance may use all the time left. A frozen instance thus leaves time for the others.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

import structlog

from mesh.calling.attempt_results import is_overloaded, may_be_alive, may_go_on, result_of
from mesh.calling.balancer import Attempt, Balancer, Tries
from mesh.calling.breaker import AttemptResult, BreakerLimits
from mesh.calling.holdoffs import HoldOffs
from mesh.calling.transport import Transport
from mesh.calling.unary import UnaryTransport
from mesh.calls import ALL_INSTANCES_UNAVAILABLE, TRACEPARENT, Metadata
from mesh.contract.instances import Instance
from mesh.contract.method_config import MethodConfig, config_of_path
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
PAUSES_SECONDS = {2: 0.02, 3: 0.06}
"""Before the second and the third attempt on one instance; jitter takes off up to half."""

_REFUSED_BY_EVERY_INSTANCE = (InvalidArgument, Unauthenticated, PermissionDenied)
log = structlog.get_logger()


class AllInstancesUnavailable(DependencyAway):
    """No instance of the service is left to try."""

    REASON = ALL_INSTANCES_UNAVAILABLE


class ServiceOverloaded(ResourceExhausted):
    """Every instance has recently reported that it has no room for calls of this kind.

    It is not an `Overloaded`: a process that passes it on may already have done some work.
    """

    REASON = Overloaded.REASON


class InstanceList(Protocol):
    """Knows the live instances of each service; `mesh.membership.discovery.Directory` is one."""

    def instances(self, service: str) -> tuple[Instance, ...]:
        """The instances of one service, by the last list received."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Calls `changed` after every change; returns the unsubscribe function."""
        ...


class _Sending(NamedTuple):
    method: str
    request: bytes
    metadata: Metadata
    deadline: Deadline
    config: MethodConfig


class ServiceClient:
    """A `mesh.calls.SheddingCaller` for one service. Use it in one event loop only.

    client = ServiceClient("account_svc", directory)
    try:
        response = await client.call(method, request, metadata, Deadline.after(2.0))
    finally:
        await client.close()
    """

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
        """`transport` defaults to unary calls; the client closes it. `jitter` returns numbers
        in [0, 1)."""
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
        sending = _Sending(method, request, metadata, deadline, config_of_path(method))
        try:
            return await self._call(sending)
        except Unavailable as error:
            error.mark_instance_healthy()
            raise

    def refuse_early(self, method: str) -> None:
        """See `mesh.calls.SheddingCaller`."""
        config = config_of_path(method)
        held = self._holdoffs.held(config.work_kind)
        if held and all(each in held for each in self._serving_ids):
            raise self._overloaded(config)

    async def _call(self, sending: _Sending) -> bytes:
        method, config, deadline = sending.method, sending.config, sending.deadline
        tries = Tries(is_kept_together=config.is_kept_together)
        cause: MeshError | None = None
        # True once an attempt that may change something was sent and not answered for good.
        is_in_doubt = False
        while not deadline.is_over():
            # Hold-offs are read anew for each attempt: other calls may have added some.
            tries.failed_on.update(self._holdoffs.held(config.work_kind))
            attempt = self._balancer.pick(tries)
            if attempt is None:
                error = self._none_left(config, cause)
                did_no_work = isinstance(error, ServiceOverloaded) or not may_be_alive(
                    error, method
                )
                # "No work was done" would be true of this error only, not of the call.
                if is_in_doubt and did_no_work:
                    raise InDoubt from error
                raise error from cause
            try:
                return await self._attempt(attempt, sending)
            except MeshError as error:
                if not may_go_on(error, method, config):
                    # Every instance refuses a bad request or token, so the earlier attempt
                    # was refused too. Any other refusal says nothing about that attempt.
                    if is_in_doubt and not isinstance(error, _REFUSED_BY_EVERY_INSTANCE):
                        raise InDoubt from error
                    raise
                is_in_doubt = is_in_doubt or (config.changes and may_be_alive(error, method))
                cause = error
        raise DeadlineExceeded(
            "The call's deadline has passed; repeat it to learn the outcome."
        ) from cause

    def open_instances(self) -> tuple[str, ...]:
        """The ids of the instances whose breaker is not closed."""
        return self._balancer.open_instances()

    async def close(self) -> None:
        """Ends the calls in flight and closes every connection."""
        self._unsubscribe()
        await self._transport.close()

    async def _attempt(self, attempt: Attempt, sending: _Sending) -> bytes:
        # Stands if the caller cancels: a cancellation says nothing about the instance.
        result = AttemptResult.GIVEN_UP
        try:
            address, deadline = attempt.instance.address, sending.deadline
            if attempt.number > 1:
                await self._pause_before(attempt, deadline)
            timeout_seconds = self._timeout_seconds(attempt, deadline)
            if not sending.config.repeats:
                # Once the request is written it cannot be retried, so connect first.
                await self._transport.connect(address, timeout_seconds)
                timeout_seconds = deadline.remaining_seconds()
            response = await self._transport.call(
                address, sending.method, sending.request, sending.metadata, timeout_seconds
            )
            result = AttemptResult.ANSWERED
            return response
        except MeshError as error:
            result = result_of(error)
            if is_overloaded(error, sending.method):
                hint_seconds = error.retry_after_seconds
                self._holdoffs.begin(attempt.instance.id, sending.config.work_kind, hint_seconds)
            raise
        finally:
            self._report(attempt, result)

    def _timeout_seconds(self, attempt: Attempt, deadline: Deadline) -> float:
        left_seconds = deadline.remaining_seconds()
        if attempt.is_last:
            return left_seconds
        return min(self._attempt_timeout_seconds, left_seconds / 2)

    async def _pause_before(self, attempt: Attempt, deadline: Deadline) -> None:
        jittered_seconds = PAUSES_SECONDS[attempt.number] * (1 - self._jitter() / 2)
        await asyncio.sleep(min(jittered_seconds, deadline.remaining_seconds()))

    def _report(self, attempt: Attempt, result: AttemptResult) -> None:
        was_open = attempt.breaker.is_tripped
        self._balancer.report(attempt, result)
        if attempt.breaker.is_tripped != was_open:
            event = "close_breaker" if was_open else "open_breaker"
            log.warning(event, service=self._service, target=attempt.instance.id)

    def _none_left(self, config: MethodConfig, cause: MeshError | None) -> MeshError:
        if self._holdoffs.held(config.work_kind):
            return self._overloaded(config)
        if cause is not None and result_of(cause) in (
            AttemptResult.ANSWERED,
            AttemptResult.GIVEN_UP,
        ):
            return cause
        return self._all_unavailable(cause)

    def _overloaded(self, config: MethodConfig) -> ServiceOverloaded:
        return ServiceOverloaded(
            f"{self._service} is overloaded with calls of this kind; repeat the call in a moment.",
            retry_after_seconds=self._holdoffs.seconds_left(config.work_kind),
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
