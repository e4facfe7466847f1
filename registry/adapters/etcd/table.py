"""Reads and writes the list of instances in etcd; keeps no state.

Each operation may be repeated when its outcome is unknown: a put writes the same value again,
and a change of state is a compare-and-swap transaction, so that concurrent changes by two
registries apply one after the other.
"""

from dataclasses import replace

from mesh.contract.instances import Instance, InstanceState
from mesh.deadlines import Deadline
from protos.etcd.v3 import etcd_pb2 as pb
from registry.adapters.etcd import keys
from registry.adapters.etcd.client import EtcdClient, EtcdUnavailable, LeaseGone
from registry.adapters.etcd.keys import Keys, LeaseName
from registry.adapters.etcd.view import View
from registry.adapters.etcd.watch import WatchStream
from registry.domain.leases import LeaseExpired

MAX_RACES = 10


class Table:
    """Every method raises EtcdUnavailable when etcd does not answer in time."""

    def __init__(self, client: EtcdClient, names: Keys) -> None:
        self._client = client
        self._names = names

    async def load(self, new_list_id: str, deadline: Deadline) -> View:
        """The present list. If it has no id yet, because etcd is empty, it gets the given one."""
        names = self._names
        read = [
            _range(names.list_id),
            _range(names.instances, names.instances_end),
        ]
        write = _put(pb.PutRequest(key=names.list_id, value=new_list_id.encode()))
        request = pb.TxnRequest(compare=[_is_missing(names.list_id)], success=[write, *read])
        request.failure.extend(read)
        answer = await self._client.txn(request, deadline)
        named, listed = (each.response_range for each in answer.responses[-len(read) :])
        list_id = named.kvs[0].value.decode(errors="replace")
        return View(names, list_id, answer.header.revision, listed.kvs)

    async def has_list(self, list_id: str, deadline: Deadline) -> bool:
        """Whether etcd still has the list with that id, so that its revisions continue."""
        found = await self._client.range(pb.RangeRequest(key=self._names.list_id), deadline)
        return bool(found.kvs) and found.kvs[0].value == list_id.encode()

    def watch(self, after_revision: int) -> WatchStream:
        """Every change of an instance after that revision."""
        return self._client.watch(
            pb.WatchCreateRequest(
                key=self._names.instances,
                range_end=self._names.instances_end,
                start_revision=after_revision + 1,
            )
        )

    async def put(self, entry: Instance, lease: int, deadline: Deadline) -> tuple[int, int]:
        """Lists an instance under a lease. Returns the revision and the instance's earlier
        lease, 0 for none."""
        request = pb.PutRequest(
            key=self._names.of_instance(entry.id),
            value=keys.encode(entry),
            lease=lease,
            prev_kv=True,
        )
        try:
            answer = await self._client.txn(pb.TxnRequest(success=[_put(request)]), deadline)
        except LeaseGone as error:
            raise EtcdUnavailable(
                "The lease ran out before the instance was listed; register again."
            ) from error
        return answer.header.revision, answer.responses[0].response_put.prev_kv.lease

    async def set_state(
        self, name: LeaseName, state: InstanceState | None, deadline: Deadline
    ) -> int:
        """Sets an instance's state unless it is None. Returns the revision of its key.

        Raises LeaseExpired when the instance is not listed under this lease.
        """
        key = self._names.of_instance(name.instance_id)
        for _ in range(MAX_RACES):
            found = (await self._client.range(pb.RangeRequest(key=key), deadline)).kvs
            if not found or found[0].lease != name.lease:
                raise LeaseExpired
            entry = keys.decode(name.instance_id, found[0].value)
            if state is None or entry.state is state:
                return found[0].mod_revision
            put = pb.PutRequest(
                key=key, value=keys.encode(replace(entry, state=state)), lease=name.lease
            )
            revision = await self._put_unless_changed(put, found[0].mod_revision, deadline)
            if revision is not None:
                return revision
        raise EtcdUnavailable("Other calls keep changing this instance; repeat the call.")

    async def _put_unless_changed(
        self, put: pb.PutRequest, seen_revision: int, deadline: Deadline
    ) -> int | None:
        unchanged = pb.Compare(
            result=pb.Compare.EQUAL,
            target=pb.Compare.MOD,
            key=put.key,
            mod_revision=seen_revision,
        )
        try:
            answer = await self._client.txn(
                pb.TxnRequest(compare=[unchanged], success=[_put(put)]), deadline
            )
        except LeaseGone as error:
            raise LeaseExpired from error
        return answer.header.revision if answer.succeeded else None


def _range(key: bytes, end: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=end))


def _put(request: pb.PutRequest) -> pb.RequestOp:
    return pb.RequestOp(request_put=request)


def _is_missing(key: bytes) -> pb.Compare:
    return pb.Compare(result=pb.Compare.EQUAL, target=pb.Compare.CREATE, key=key, create_revision=0)
