"""Whether the whole mesh sees the whole mesh: what must be so before a process is ended.

Asked are every registry, for its list, and every gateway, for what it makes of that list.
"""

import asyncio
import http.client
import json
from collections.abc import Callable, Collection, Sequence

import grpc

from deploy.local.mesh_file import Mesh
from mesh.calls import AUTHORIZATION
from protos.registry.v1 import registry_pb2

TIMEOUT_SECONDS = 2.0
LIST = "/registry.v1.RegistryService/List"
SERVICES = ("account_svc", "gacha_svc")
LISTED = (*SERVICES, "gateway_http")


async def unseen(mesh: Mesh, token: Callable[[], str]) -> list[str]:
    """What is not seen by whom, in words; empty when all is seen. `token` is a service's."""
    registries = _addresses(mesh, ("registry",))
    gateways = _addresses(mesh, ("gateway_http",))
    answers = await asyncio.gather(
        *(_unlisted(address, _names(mesh, LISTED), token()) for address in registries),
        *(asyncio.to_thread(_not_called, each, _names(mesh, SERVICES)) for each in gateways),
    )
    return [sentence for sentences in answers for sentence in sentences]


def _addresses(mesh: Mesh, roles: Collection[str]) -> list[str]:
    return [each["address"] for each in mesh["processes"] if each["role"] in roles]


def _names(mesh: Mesh, roles: Collection[str]) -> list[str]:
    return [each["name"] for each in mesh["processes"] if each["role"] in roles]


async def _unlisted(registry: str, names: Sequence[str], token: str) -> list[str]:
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(registry, options=options) as channel:
        call = channel.unary_unary(
            LIST,
            request_serializer=registry_pb2.ListRequest.SerializeToString,
            response_deserializer=registry_pb2.ListResponse.FromString,
        )
        try:
            answer = await call(
                registry_pb2.ListRequest(),
                timeout=TIMEOUT_SECONDS,
                metadata=((AUTHORIZATION, f"Bearer {token}"),),
            )
        except grpc.aio.AioRpcError as error:
            return [f"the registry at {registry} does not answer ({error.code().name})"]
    serving = {
        each.id for each in answer.instances if each.state == registry_pb2.INSTANCE_STATE_SERVING
    }
    return [
        f"the registry at {registry} does not list {name}" for name in names if name not in serving
    ]


def _not_called(gateway: str, names: Sequence[str]) -> list[str]:
    connection = http.client.HTTPConnection(gateway, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/status")
        told = json.loads(connection.getresponse().read())
        age_seconds, services = told["registry"]["viewAgeSeconds"], told["services"]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return [f"the gateway at {gateway} does not answer"]
    finally:
        connection.close()
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
