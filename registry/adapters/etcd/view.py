"""A copy of the list in etcd: read once, then kept current by the events of a watch.

Invariant: it is the list at `revision`, and the watch starts at the revision after that.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from mesh.contract.instances import Instance
from protos.etcd.v3 import etcd_pb2 as pb
from registry.adapters.etcd import keys
from registry.adapters.etcd.keys import Keys
from registry.domain.leases import Snapshot

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listed:
    """An instance, and the etcd lease that keeps it listed."""

    entry: Instance
    lease: int


class View:
    """For one event loop."""

    def __init__(
        self, names: Keys, list_id: str, revision: int, instances: Iterable[pb.KeyValue]
    ) -> None:
        self.list_id = list_id
        self.revision = revision
        self._names = names
        self._listed: dict[str, Listed] = {}
        for pair in instances:
            self._put(pair)

    def __len__(self) -> int:
        return len(self._listed)

    def get(self, instance_id: str) -> Listed | None:
        return self._listed.get(instance_id)

    def take(self, events: Iterable[pb.Event]) -> None:
        """The changes after `revision`, in their order."""
        for event in events:
            if event.type == pb.Event.DELETE:
                self._delete(event.kv)
            else:
                self._put(event.kv)
            self.revision = max(self.revision, event.kv.mod_revision)

    def snapshot(self) -> Snapshot:
        listed = sorted(self._listed.items())
        return Snapshot(self.revision, tuple(each.entry for _, each in listed), self.list_id)

    def _put(self, pair: pb.KeyValue) -> None:
        instance_id = self._names.instance_of(pair.key)
        try:
            entry = keys.decode(instance_id, pair.value)
        except ValueError as error:
            log.warning("skip_foreign_key", key=repr(pair.key), error=str(error))
            return
        self._listed[instance_id] = Listed(entry, pair.lease)

    def _delete(self, pair: pb.KeyValue) -> None:
        gone = self._listed.pop(self._names.instance_of(pair.key), None)
        if gone is not None:
            log.info("drop_instance", target=gone.entry.id, service=gone.entry.service)
