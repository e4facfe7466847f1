"""What every instance of account_svc makes of the keys that sign players' tokens."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from account_svc.domain.signing_keys import ListedKey
from account_svc.rpc.signing_keys import STATES
from deploy.local.endpoint import Reach, reach_of
from deploy.local.errors import LocalRunError
from deploy.local.mesh_file import Mesh
from mesh.errors import MeshError
from mesh.identity.service_identity import ServiceIdentity
from protos.account.v1 import signing_keys_pb2 as pb

TIMEOUT_SECONDS = 2.0
LIST = "/account.v1.SigningKeyService/ListSigningKeys"
_STATES = {number: state for state, number in STATES.items()}


@dataclass(frozen=True, slots=True)
class View:
    """The keys of one instance, the oldest first, and what it says of files that are none."""

    keys: tuple[ListedKey, ...]
    faults: tuple[str, ...] = ()

    def find(self, kid: str) -> ListedKey | None:
        return next((key for key in self.keys if key.kid == kid), None)


Views = Mapping[str, View]
"""By the names of the instances."""


async def ask_all(mesh: Mesh, identity: ServiceIdentity) -> Views:
    """Asks every instance. Raises LocalRunError when one of them does not answer."""
    reach = reach_of(mesh)
    addresses = {
        each["name"]: each["address"] for each in mesh["processes"] if each["role"] == "account_svc"
    }
    views = await asyncio.gather(
        *(_ask(name, address, identity, reach) for name, address in addresses.items())
    )
    return dict(zip(addresses, views, strict=True))


async def _ask(name: str, address: str, identity: ServiceIdentity, reach: Reach) -> View:
    try:
        told = await reach.call(
            address, LIST, pb.ListSigningKeysRequest(), identity.token(), TIMEOUT_SECONDS
        )
    except MeshError as error:
        raise LocalRunError(
            f"{name} does not say what keys it has ({error.code.name}): see `make status`."
        ) from error
    answer = pb.ListSigningKeysResponse.FromString(told)
    return View(tuple(map(_listed, answer.keys)), tuple(answer.faults))


def _listed(key: pb.SigningKey) -> ListedKey:
    return ListedKey(
        key.kid,
        key.file_name,
        _STATES[key.state],
        key.ready_at.ToMicroseconds() / 1e6,
        key.removable_at.ToMicroseconds() / 1e6 if key.HasField("removable_at") else None,
    )
