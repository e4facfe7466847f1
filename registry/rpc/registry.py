"""registry.v1.RegistryService over a store."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from mesh.contract.instances import Instance, InstanceState
from mesh.errors import InvalidArgument, PermissionDenied
from mesh.membership.instance_messages import STATE_NUMBERS, to_message
from mesh.rounds import until_tick
from mesh.serving.dispatch import Call
from protos.registry.v1 import registry_pb2 as pb
from registry.domain.leases import LeaseExpired, Snapshot
from registry.domain.store import RegistryLeaving, Store
from registry.domain.watch_cursor import WatchCursor

MAX_LEASE_ID_LENGTH = 120
KEEPALIVE_SECONDS = 1.0

_STATES: dict[int, InstanceState] = {number: state for state, number in STATE_NUMBERS.items()}


class NotYourService(PermissionDenied):
    REASON = "NOT_YOUR_SERVICE"


class RegistryRpc:
    """The service's methods; the proto documents each."""

    def __init__(self, store: Store, *, keepalive_seconds: float = KEEPALIVE_SECONDS) -> None:
        """A watcher receives a message at least every `keepalive_seconds`."""
        self._store = store
        self._keepalive_seconds = keepalive_seconds

    async def register(self, request: pb.RegisterRequest, call: Call) -> pb.RegisterResponse:
        sent = request.instance
        state = _state_of(sent.state, "instance.state") or InstanceState.SERVING
        _check_own(sent, call.service)
        lease_id = await self._store.register(
            Instance(sent.id, sent.service, sent.address, state, sent.metrics_address)
        )
        response = pb.RegisterResponse(lease_id=lease_id)
        response.ttl.FromTimedelta(timedelta(seconds=self._store.lease_seconds))
        return response

    async def heartbeat(self, request: pb.HeartbeatRequest, call: Call) -> pb.HeartbeatResponse:
        state = _state_of(request.state, "state")
        lease_id = _lease_id_of(request.lease_id)
        if not await self._is_own(lease_id, call):
            raise LeaseExpired
        await self._store.renew(lease_id, state)
        return pb.HeartbeatResponse()

    async def deregister(self, request: pb.DeregisterRequest, call: Call) -> pb.DeregisterResponse:
        lease_id = _lease_id_of(request.lease_id)
        if await self._is_own(lease_id, call):
            await self._store.remove(lease_id)
        return pb.DeregisterResponse()

    async def list(self, request: pb.ListRequest, call: Call) -> pb.ListResponse:
        snapshot = (await self._store.snapshot()).of_service(request.service)
        return pb.ListResponse(
            instances=_messages(snapshot), revision=snapshot.revision, list_id=snapshot.list_id
        )

    async def watch(self, request: pb.WatchRequest, call: Call) -> AsyncIterator[pb.WatchResponse]:
        """One response now, one after each change, and one after each second without a change.
        A slow reader skips the snapshots between two reads."""
        cursor = WatchCursor(request.service, request.list_id, request.revision)
        whole = await self._store.snapshot()
        while True:
            changed = cursor.advance(whole)
            yield pb.WatchResponse(
                instances=[] if changed is None else _messages(changed),
                revision=cursor.revision,
                list_id=whole.list_id,
                unchanged=changed is None,
            )
            try:
                async with asyncio.timeout(until_tick(self._keepalive_seconds)):
                    whole = await self._store.snapshot_after(whole.revision)
            except TimeoutError:
                continue
            except RegistryLeaving:
                return

    async def _is_own(self, lease_id: str, call: Call) -> bool:
        """Whether a lease belongs to an instance of the calling service. A lease of another
        service is treated as unknown."""
        instance_id = await self._store.holder(lease_id)
        return instance_id is not None and instance_id.startswith(f"{call.service}-")


def _check_own(sent: pb.Instance, caller: str) -> None:
    """A service may list only its own instances. Their ids begin with the service's name, so
    that a service cannot replace another's instance."""
    if sent.service != caller:
        raise NotYourService(
            f"{caller} may register only its own instances, but this one has the service "
            f"{sent.service!r}."
        )
    if not sent.id.startswith(f"{caller}-"):
        raise InvalidArgument.of_field(
            "instance.id", f"must begin with the service's name, such as {caller}-1"
        )


def _messages(snapshot: Snapshot) -> list[pb.Instance]:
    return [to_message(entry) for entry in snapshot.entries]


def _state_of(number: int, field: str) -> InstanceState | None:
    """None if it is not set."""
    if number == pb.INSTANCE_STATE_UNSPECIFIED:
        return None
    if number not in _STATES:
        raise InvalidArgument.of_field(field, "must be SERVING, DRAINING or left out")
    return _STATES[number]


def _lease_id_of(lease_id: str) -> str:
    if not 0 < len(lease_id) <= MAX_LEASE_ID_LENGTH:
        raise InvalidArgument.of_field("lease_id", "must be the one that Register gave")
    return lease_id
