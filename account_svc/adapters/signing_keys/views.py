"""What every running instance of account_svc says of the keys that sign players' tokens."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from account_svc.domain.signing_keys import ListedKey, State
from mesh.calling.transport import Transport
from mesh.calls import Metadata
from mesh.contract.instances import Instance
from mesh.errors import MeshError
from protos.account.v1 import signing_keys_pb2 as pb

TIMEOUT_SECONDS = 2.0
LIST = "/account.v1.SigningKeyService/ListSigningKeys"


class MissingView(Exception):
    """An instance does not answer, or is not there; the message names it and the remedy."""


@dataclass(frozen=True, slots=True)
class View:
    """The keys of one instance, the oldest first, and a sentence for each file it left out."""

    keys: tuple[ListedKey, ...]
    faults: tuple[str, ...] = ()

    def find(self, kid: str) -> ListedKey | None:
        return next((key for key in self.keys if key.kid == kid), None)


Views = Mapping[str, View]
"""By the ids of the instances."""


def states_of(kid: str, views: Views) -> set[State]:
    """The states of a key at the instances that know it."""
    seen = [view.find(kid) for view in views.values()]
    return {key.state for key in seen if key is not None}


@dataclass(frozen=True, slots=True)
class InstanceViews:
    """Asks all instances; `metadata` shows the caller as an operator.

    `instances` gives the listed ones, of which `min_count` or more must be there. That guards
    against a registry that has just started and does not know all of them yet.
    """

    instances: Callable[[], tuple[Instance, ...]]
    transport: Transport
    metadata: Callable[[], Metadata]
    min_count: int = 1

    async def ask(self) -> Views:
        """Changes nothing. Raises MissingView unless all of them answer."""
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
                f"{instance.id} does not say which keys it has ({error.code.name}): "
                "see whether it is healthy"
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
