"""Collects every running instance's list of the keys that sign players' tokens."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from account_svc.domain.signing.key_views import MissingView, View, Views
from account_svc.domain.signing.signing_keys import ListedKey, State
from mesh.calling.transport import Transport
from mesh.calls import Metadata
from mesh.contract.instances import Instance
from mesh.errors import MeshError
from protos.account.v1 import signing_keys_pb2 as pb

TIMEOUT_SECONDS = 2.0
LIST = "/account.v1.SigningKeyService/ListSigningKeys"


@dataclass(frozen=True, slots=True)
class InstanceViews:
    """Calls all instances; `metadata` identifies the caller as an operator.

    `instances` returns the listed instances, which must be at least `min_count`. That guards
    against a registry that has just started and does not know all of them yet.
    """

    instances: Callable[[], tuple[Instance, ...]]
    transport: Transport
    metadata: Callable[[], Metadata]
    min_count: int = 1

    async def ask(self) -> Views:
        """Only reads. Raises MissingView unless all instances answer."""
        instances = self.instances()
        if len(instances) < self.min_count:
            raise MissingView(
                f"The registry lists {len(instances)} instances of account_svc, and "
                f"{self.min_count} are expected: wait until all of them run"
            )
        views = await asyncio.gather(*(self._ask(each) for each in instances))
        return {each.id: view for each, view in zip(instances, views, strict=True)}

    async def _ask(self, instance: Instance) -> View:
        request = pb.ListSigningKeysRequest().SerializeToString()
        try:
            answer = await self.transport.call(
                instance.address, LIST, request, self.metadata(), TIMEOUT_SECONDS
            )
        except MeshError as error:
            raise MissingView(
                f"{instance.id} does not report its keys ({error.code.name}): "
                "check whether it is healthy"
            ) from error
        response = pb.ListSigningKeysResponse.FromString(answer)
        return View(tuple(map(_listed_key, response.keys)), tuple(response.faults))


def _listed_key(key: pb.SigningKey) -> ListedKey:
    name = pb.SigningKeyState.Name(key.state)
    return ListedKey(
        key.kid,
        key.file_name,
        State(name.removeprefix("SIGNING_KEY_STATE_").lower()),
        key.ready_at.ToMicroseconds() / 1e6,
        key.removable_at.ToMicroseconds() / 1e6 if key.HasField("removable_at") else None,
    )
