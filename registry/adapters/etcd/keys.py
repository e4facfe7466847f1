"""The form of an instance in etcd, and of its lease id. Pure.

An instance is one key, `PREFIXinstances/ID`, attached to its lease. The value is JSON, so that
it is readable with etcdctl. The lease id that an instance receives contains the instance's id,
so that any registry finds its key without other data.
"""

import json
import re
from dataclasses import dataclass

from mesh.contract.instances import Instance, InstanceState
from registry.domain.leases import LeaseExpired

PREFIX = "/gacha-mesh/registry/"
_LEASE_ID = re.compile(r"(?P<lease>[0-9a-f]{1,16})/(?P<instance>[\x21-\x7e]+)")
_MAX_LEASE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one mesh, under its prefix."""

    prefix: str = PREFIX

    @property
    def list_id(self) -> bytes:
        """The key of the list's id. It is written once, and missing if etcd has lost its data."""
        return f"{self.prefix}list_id".encode()

    @property
    def instances(self) -> bytes:
        """The prefix of every instance's key."""
        return f"{self.prefix}instances/".encode()

    @property
    def instances_end(self) -> bytes:
        """The first key after all of them: `0` follows `/`."""
        return f"{self.prefix}instances0".encode()

    def of_instance(self, instance_id: str) -> bytes:
        return self.instances + instance_id.encode()

    def instance_of(self, key: bytes) -> str:
        return key.removeprefix(self.instances).decode(errors="replace")


@dataclass(frozen=True, slots=True)
class LeaseName:
    """An etcd lease, and the instance that it keeps listed."""

    lease: int
    instance_id: str

    def __str__(self) -> str:
        return f"{self.lease:x}/{self.instance_id}"

    @classmethod
    def parse(cls, text: str) -> "LeaseName":
        """Reads the result of `str`. Raises LeaseExpired for any other text."""
        found = _LEASE_ID.fullmatch(text)
        if found is None or not 0 < int(found["lease"], 16) <= _MAX_LEASE:
            raise LeaseExpired
        return cls(int(found["lease"], 16), found["instance"])


def encode(entry: Instance) -> bytes:
    """The value of an instance's key."""
    fields = {
        "service": entry.service,
        "address": entry.address,
        "state": entry.state.value,
        "metrics_address": entry.metrics_address,
    }
    return json.dumps(fields).encode()


def decode(instance_id: str, value: bytes) -> Instance:
    """Reads a value of `encode`. Raises ValueError for any other."""
    try:
        fields = json.loads(value)
        return Instance(
            instance_id,
            str(fields["service"]),
            str(fields["address"]),
            InstanceState(fields["state"]),
            str(fields["metrics_address"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an instance: {error}") from error
