"""Checks that every caller sees every instance, before a process is stopped.

It asks every registry for its list, and every gateway for the instances that it calls.
"""

import asyncio
import http.client
import json
from collections.abc import Callable, Collection, Sequence

from deploy.local.mesh_client import MeshClient, client_of
from deploy.local.mesh_file import Mesh
from mesh.errors import MeshError
from protos.registry.v1 import registry_pb2

TIMEOUT_SECONDS = 2.0
LIST = "/registry.v1.RegistryService/List"
SERVICES = ("account_svc", "gacha_svc")
LISTED = (*SERVICES, "gateway_http")


async def unseen(mesh: Mesh, token: Callable[[], str]) -> list[str]:
    """A sentence for each instance that a caller does not see. `token` returns a token for the
    registries, an operator's or a service's."""
    registries = _addresses(mesh, ("registry",))
    gateways = _addresses(mesh, ("gateway_http",))
    client = client_of(mesh)
    answers = await asyncio.gather(
        *(_unlisted(address, _names(mesh, LISTED), token(), client) for address in registries),
        *(
            asyncio.to_thread(_not_called, each, _names(mesh, SERVICES), client)
            for each in gateways
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


def _not_called(gateway: str, names: Sequence[str], client: MeshClient) -> list[str]:
    try:
        _, body = client.get(gateway, "/status", TIMEOUT_SECONDS)
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
