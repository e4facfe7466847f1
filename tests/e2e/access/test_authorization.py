"""Every caller tries every method on a whole mesh; the results equal docs/authorization.md.

The methods come from the descriptors and their rules from the document, so a new method is
tested automatically.
"""

import re
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import grpc
import httpx
import pytest
from google.api import client_pb2
from google.protobuf.descriptor import MethodDescriptor

from mesh.calling.transport import Transport
from mesh.calling.unary import UnaryTransport
from mesh.errors import MeshError, Unavailable, Unimplemented
from mesh.lanes.transport import LaneTransport
from proof.clients.grpc_client import refusal_of
from proof.clients.reflected import ReflectedServer
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from proof.tokens import token_of
from tests.authorization import documented, methods, routes_of
from tests.e2e.access.callers import REFUSALS, SERVERS, Caller, callers

pytestmark = pytest.mark.usefixtures("unharmed_mesh")

SECONDS = 20.0
METHODS = dict(methods())
LINES = {line.path: line for line in documented()}
STREAMS = [path for path, each in METHODS.items() if each.client_streaming or each.server_streaming]
UNARY = [path for path in METHODS if path not in STREAMS]
ROUTES = [
    (path, verb, template) for path, each in METHODS.items() for verb, template in routes_of(each)
]
ON_EVERY_SERVER = "mesh.v1.LaneService"
"""Reflection does not list it, because only the mesh itself uses it."""
_VARIABLE = re.compile(r"{\w+}")

Everybody = Callable[[str], list[Caller]]
"""Makes all callers of a service anew."""
Servers = dict[str, list[tuple[str, str]]]
"""The name and one address of each kind of process that serves a proto service, by its name."""


@pytest.fixture(scope="module")
def servers(mesh: Mesh) -> Servers:
    all_of_them = [(name, mesh.processes(name)[0]["address"]) for name in SERVERS]
    found: Servers = {ON_EVERY_SERVER: all_of_them}
    for name, address in all_of_them:
        with closing(ReflectedServer(address)) as server:
            for service in server.services():
                found.setdefault(service, []).append((name, address))
    return found


@pytest.fixture(scope="module")
def everybody(mesh: Mesh, new_player: NewPlayer, bystander: Player) -> Everybody:
    """Makes all callers anew, because services' tokens expire after a minute."""
    another = new_player()
    return lambda callee: callers(mesh, bystander, another, callee)


def expected(everybody: list[Caller], path: str, *, is_opened: bool = True) -> dict[str, str]:
    """The expected reason of refusal for each caller, or nothing. The mesh under test opens every
    method that can be opened."""
    return {each.name: each.expected(LINES[path], is_opened=is_opened) for each in everybody}


def reason_of(error: MeshError) -> str:
    """The reason of the refusal; empty if the method itself answered."""
    assert not isinstance(error, Unavailable | Unimplemented), error
    return error.reason if error.reason in REFUSALS else ""


def service_of(path: str) -> str:
    return path.partition("/")[0]


async def said_by_grpc(
    transport: Transport, address: str, path: str, everybody: list[Caller]
) -> dict[str, str]:
    said = {}
    for caller in everybody:
        try:
            await transport.call(address, f"/{path}", b"", caller.metadata(), SECONDS)
            said[caller.name] = ""
        except MeshError as error:
            said[caller.name] = reason_of(error)
    return said


def test_no_two_callers_have_one_name(everybody: Everybody) -> None:
    names = [each.name for each in everybody("account_svc")]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", UNARY)
async def test_grpc_admits_whom_the_document_names(
    servers: Servers, everybody: Everybody, path: str
) -> None:
    transport = UnaryTransport()
    for name, address in servers[service_of(path)]:
        asking = everybody(name)
        assert await said_by_grpc(transport, address, path, asking) == expected(asking, path)
    await transport.close()


@pytest.mark.parametrize("path", UNARY)
async def test_a_call_on_a_lane_needs_a_right_of_its_own(
    mesh: Mesh, servers: Servers, everybody: Everybody, path: str
) -> None:
    for name, address in servers[service_of(path)]:
        lane = LaneTransport(partial(token_of, mesh, "gacha_svc", name))
        asking = everybody(name)
        assert await said_by_grpc(lane, address, path, asking) == expected(asking, path)
        await lane.close()


@pytest.mark.parametrize("path", STREAMS)
def test_streams_are_opened_by_whom_the_document_names(
    servers: Servers, everybody: Everybody, path: str
) -> None:
    for name, address in servers[service_of(path)]:
        asking = everybody(name)
        with grpc.insecure_channel(address, (("grpc.enable_http_proxy", 0),)) as channel:
            said = {each.name: first_word(channel, METHODS[path], each) for each in asking}
        assert said == expected(asking, path)


def first_word(channel: grpc.Channel, method: MethodDescriptor, caller: Caller) -> str:
    """Empty if the stream starts, otherwise the reason of the refusal."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    options: dict[str, Any] = {"metadata": tuple(caller.metadata().items()), "timeout": SECONDS}
    stream: Any
    if method.client_streaming:
        stream = channel.stream_stream(path)(iter(()), **options)
    else:
        begin: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
        stream = begin(b"", **options)
    try:
        next(stream)
        return ""
    except grpc.RpcError as error:
        return refusal_of(error).reason
    finally:
        stream.cancel()


@pytest.mark.parametrize(("path", "verb", "template"), ROUTES)
def test_rest_admits_whom_the_document_names(
    rest: RestClient, everybody: Everybody, path: str, verb: str, template: str
) -> None:
    asking = everybody(host_of(METHODS[path]))
    said = {each.name: said_by_rest(rest.http, verb, template, each) for each in asking}
    assert said == expected(asking, path)


def host_of(method: MethodDescriptor) -> str:
    """The service that the gateway calls for that method."""
    options = method.containing_service.GetOptions()
    return str(options.Extensions[client_pb2.default_host])


def said_by_rest(http: httpx.Client, verb: str, template: str, caller: Caller) -> str:
    body: dict[str, Any] = {} if verb == "GET" else {"json": {}}
    answer = http.request(verb, _VARIABLE.sub("x", template), headers=caller.metadata(), **body)
    if answer.status_code == 200:
        return ""
    reason = str(answer.json()["reason"])
    if reason not in REFUSALS:
        return ""
    assert answer.status_code == (403 if reason == "WRONG_CALLER" else 401)
    return reason


@pytest.mark.parametrize("path", [path for path in METHODS if not routes_of(METHODS[path])])
def test_rest_has_no_way_to_a_method_without_a_route(
    rest: RestClient, everybody: Everybody, path: str
) -> None:
    for caller in everybody("account_svc"):
        answer = rest.http.post(f"/{path}", headers=caller.metadata())
        assert answer.status_code == 404
