"""A `Store` that registries share through etcd.

Guarantees, as long as etcd keeps acknowledged writes:
- Every registry lists an instance that one registry has accepted, and any of them renews or
  ends its lease. A lease that is not renewed ends by itself, even if its registry has died.
- A registry lists the state that it last read. While etcd does not answer, no instance leaves
  the list, and changes are refused with Unavailable within a second. When etcd is back,
  everything continues from there: etcd's new leader extends every lease to its full time.
- The revision of a snapshot is etcd's revision at the last change, the same at every registry.
  The list's id is in etcd too, so that an etcd without its data has a list with another id.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from uuid import uuid4

import grpc
import structlog

from mesh.contract.instances import Instance, InstanceState
from mesh.deadlines import Deadline, within
from mesh.errors import Unavailable
from registry.adapters.etcd.client import EtcdClient, EtcdUnavailable, LeaseGone
from registry.adapters.etcd.keys import PREFIX, Keys, LeaseName
from registry.adapters.etcd.table import Table
from registry.adapters.etcd.view import View
from registry.adapters.etcd.watch import Compacted, WatchLost
from registry.domain.leases import (
    LEASE_SECONDS,
    MAX_INSTANCES,
    LeaseExpired,
    RegistryFull,
    Snapshot,
    validate,
)
from registry.domain.store import RegistryLeaving

CHANGE_SECONDS = 0.7
"""How long a change may take: less than an instance waits for its registry."""
LOAD_SECONDS = 2.0
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5)

log = structlog.get_logger()


class NoListYet(Unavailable):
    """This registry has not read the list from etcd since its start."""

    REASON = "NO_LIST_YET"


class EtcdStore:
    """For one event loop. It closes the client when `run` ends."""

    def __init__(
        self,
        client: EtcdClient,
        *,
        prefix: str = PREFIX,
        lease_seconds: float = LEASE_SECONDS,
        max_instances: int = MAX_INSTANCES,
        new_list_id: Callable[[], str] = lambda: uuid4().hex,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`prefix` is the prefix of all keys. `lease_seconds` is rounded up to whole seconds,
        because etcd has no fractions. `jitter` returns numbers in [0, 1)."""
        self._client = client
        self._table = Table(client, Keys(prefix))
        self._lease_seconds = math.ceil(lease_seconds)
        self._max_instances = max_instances
        self._new_list_id = new_list_id
        self._jitter = jitter
        self._view: View | None = None
        self._snapshot: Snapshot | None = None
        self._is_followed = False
        self._is_current = False
        self._is_compacted = False
        self._changed = asyncio.Event()
        self._is_closed = False

    @property
    def lease_seconds(self) -> float:
        return self._lease_seconds

    async def register(self, entry: Instance) -> str:
        validate(entry)
        self._check_room_for(entry)
        deadline = Deadline.after(CHANGE_SECONDS)
        lease = (await self._client.grant(self._lease_seconds, deadline)).ID
        revision, old_lease = await self._table.put(entry, lease, deadline)
        if old_lease not in (0, lease):
            # The old lease must end. If this fails, `renew` still refuses it.
            with contextlib.suppress(EtcdUnavailable, LeaseGone):
                await self._client.revoke(old_lease, deadline)
        await self._until(lambda view: view.revision >= revision, deadline)
        log.info("list_instance", target=entry.id, service=entry.service, address=entry.address)
        return str(LeaseName(lease, entry.id))

    async def renew(self, lease_id: str, state: InstanceState | None) -> None:
        name = LeaseName.parse(lease_id)
        deadline = Deadline.after(CHANGE_SECONDS)
        try:
            await self._client.keep_alive(name.lease, deadline)
        except LeaseGone as error:
            raise LeaseExpired from error
        listed = self._view.get(name.instance_id) if self._view else None
        if listed and listed.lease == name.lease and state in (None, listed.entry.state):
            return
        # If this registry is behind, the lease listed here may be the older one.
        revision = await self._table.set_state(name, state, deadline)
        await self._until(lambda view: view.revision >= revision, deadline)

    async def remove(self, lease_id: str) -> None:
        try:
            name = LeaseName.parse(lease_id)
        except LeaseExpired:
            return
        deadline = Deadline.after(CHANGE_SECONDS)
        with contextlib.suppress(LeaseGone):
            await self._client.revoke(name.lease, deadline)
        await self._until(lambda view: not _lists(view, name), deadline)

    async def holder(self, lease_id: str) -> str | None:
        try:
            name = LeaseName.parse(lease_id)
            listed = self._view.get(name.instance_id) if self._view else None
            if listed is None or listed.lease != name.lease:
                # This registry may be behind, so check in etcd.
                await self._table.set_state(name, None, Deadline.after(CHANGE_SECONDS))
        except LeaseExpired:
            return None
        return name.instance_id

    async def snapshot(self) -> Snapshot:
        if self._is_closed:
            raise RegistryLeaving
        if self._snapshot is None:
            raise NoListYet("This registry has not reached its etcd yet; call another one.")
        return self._snapshot

    async def snapshot_after(self, revision: int) -> Snapshot:
        while not self._is_closed and (await self.snapshot()).revision == revision:
            await self._changed.wait()
        return await self.snapshot()

    def has_list(self) -> bool:
        return self._view is not None

    def close(self) -> None:
        self._is_closed = True
        self._wake()

    async def run(self) -> None:
        failure_count = 0
        try:
            while True:
                turn, address = self._client.turn, self._client.address
                try:
                    await self._follow()
                except Compacted:
                    self._is_compacted = True
                except (EtcdUnavailable, WatchLost, TimeoutError, grpc.aio.AioRpcError) as error:
                    if failure_count == 0:
                        log.warning("lose_etcd", member=address, error=_said(error))
                    self._client.turn_to_next(turn)
                except Exception as error:  # a task must not die unseen
                    log.error("fail_etcd_watch", member=address, exc_info=error)
                failure_count = 0 if self._is_current else failure_count + 1
                self._is_current = self._is_followed = False
                pause_seconds = BACKOFF_SECONDS[min(failure_count, len(BACKOFF_SECONDS) - 1)]
                await asyncio.sleep(pause_seconds * (1 - self._jitter() / 2))
        finally:
            await self._client.close()

    async def _follow(self) -> None:
        """Keeps the list current by one watch until the watch fails."""
        deadline = Deadline.after(LOAD_SECONDS)
        view = self._view
        if (
            view is None
            or self._is_compacted
            or not await self._table.has_list(view.list_id, deadline)
        ):
            view = self._view = await self._table.load(self._new_list_id(), deadline)
            self._is_compacted = False
            self._publish(view)
        self._is_followed = True  # also while the watch opens, since it then shows all changes
        watch = self._table.watch(after_revision=view.revision)
        async with contextlib.aclosing(watch.responses()) as responses:
            async for response in responses:
                if response.created:
                    self._is_current = True
                    log.info("watch_etcd", member=self._client.address, revision=view.revision)
                view.take(response.events)
                self._publish(view)

    def _publish(self, view: View) -> None:
        """Publishes the list, and wakes watchers, if it has changed."""
        if self._snapshot is not None and self._snapshot.revision == view.revision:
            return
        self._snapshot = view.snapshot()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(self, holds: Callable[[View], bool], deadline: Deadline) -> None:
        """Waits until the list shows the change, usually some milliseconds. Does not wait while
        the list cannot be updated."""

        async def wait() -> None:
            while self._is_followed and self._view is not None and not holds(self._view):
                await self._changed.wait()

        with contextlib.suppress(TimeoutError):
            await within(deadline, wait())

    def _check_room_for(self, entry: Instance) -> None:
        """Raises RegistryFull according to this registry's list; several registries together may
        exceed the bound by a few."""
        view = self._view
        if view and view.get(entry.id) is None and len(view) >= self._max_instances:
            raise RegistryFull(self._max_instances, self._lease_seconds)


def _lists(view: View, name: LeaseName) -> bool:
    listed = view.get(name.instance_id)
    return listed is not None and listed.lease == name.lease


def _said(error: Exception) -> str:
    """The error as a sentence for operators."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
