"""Checks that every caller sees every instance, before a process is stopped.

It asks every registry for its list, and every gateway for the instances that it calls.
"""

import asyncio
import http.client
import json
from collections.abc import Collection, Sequence

from deploy.local.mesh_client import MeshClient, client_of
from deploy.local.mesh_file import Mesh
from mesh.contract.access import REGISTRY
from mesh.errors import MeshError
from mesh.identity.service_identity import ServiceIdentity
from protos.registry.v1 import registry_pb2

TIMEOUT_SECONDS = 2.0
LIST = "/registry.v1.RegistryService/List"
SERVICES = ("account_svc", "gacha_svc")
GATEWAYS = "gateway_http"
LISTED = (*SERVICES, GATEWAYS)


class Visibility:
    """Asks registries and gateways as an operator."""

    def __init__(self, identity: ServiceIdentity) -> None:
        """`identity` is an operator's."""
        self._to_registry = identity.towards(REGISTRY)
        self._to_gateway = identity.towards(GATEWAYS)

    async def unseen(self, mesh: Mesh) -> list[str]:
        """A sentence for each instance that a caller does not see."""
        client = client_of(mesh)
        names = _names(mesh, LISTED)
        registry_token, gateway_token = self._to_registry.token(), self._to_gateway.token()
        answers = await asyncio.gather(
            *(
                _unlisted(each, names, registry_token, client)
                for each in _addresses(mesh, (REGISTRY,))
            ),
            *(
                asyncio.to_thread(_not_called, each, _names(mesh, SERVICES), gateway_token, client)
                for each in _addresses(mesh, (GATEWAYS,))
            ),
        )
        return [sentence for sentences in answers for sentence in sentences]


def _addresses(mesh: Mesh, roles: Collection[str]) -> list[str]:
    return [each["address"] for each in mesh["processes"] if each["role"] in roles]


def _names(mesh: Mesh, roles: Collection[str]) -> list[str]:
    return [each["name"] for each in mesh["processes"] if each["role"] in roles]


async def _unlisted(
    registry: str, names: Sequence[str], token: str, client: MeshClient
) -> list[str]:
    try:
        response = await client.call(
            registry, LIST, registry_pb2.ListRequest(), token, TIMEOUT_SECONDS
        )
    except MeshError as error:
        return [f"the registry at {registry} does not answer ({error.code.name})"]
    answer = registry_pb2.ListResponse.FromString(response)
    serving = {
        each.id for each in answer.instances if each.state == registry_pb2.INSTANCE_STATE_SERVING
    }
    return [
        f"the registry at {registry} does not list {name}" for name in names if name not in serving
    ]


def _not_called(gateway: str, names: Sequence[str], token: str, client: MeshClient) -> list[str]:
    try:
        _, body = client.get(gateway, "/status", TIMEOUT_SECONDS, token)
        status = json.loads(body)
        age_seconds, services = status["registry"]["viewAgeSeconds"], status["services"]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return [f"the gateway at {gateway} does not answer"]
    if age_seconds != 0:
        return [f"the gateway at {gateway} watches no registry"]
    serving = {
        each["id"]
        for instances in services.values()
        for each in instances
        if each["state"] == "serving"
    }
    return [
        f"the gateway at {gateway} does not call {name}" for name in names if name not in serving
    ]
