"""The client address of a call is trusted only from the gateway, on its own lane."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.calls import CLIENT_ADDRESS
from mesh.contract.access import OPEN
from mesh.contract.methods import Method
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.identity.service_identity import ServiceIdentity
from mesh.lanes.transport import LaneTransport
from mesh.process.server import Server
from mesh.serving.dispatch import Dispatcher
from tests.relay import relayed
from tests.unit.mesh.echo import ECHO, Echo

FORGED = "198.51.100.7"
OWN = "127.0.0.1"
SERVICES = ("account_svc", "gacha_svc", "gateway_http")
KEYS = {service: Ed25519PrivateKey.generate() for service in SERVICES}


class Link:
    def __init__(self) -> None:
        self.echo = Echo()
        authenticator = Authenticator(
            "echo_svc",
            player_keys=fixed_keys(Ed25519PrivateKey.generate().public_key()),
            service_keys=fixed_service_keys({name: key.public_key() for name, key in KEYS.items()}),
        )
        methods = [Method(ECHO, OPEN, False, bytes, self.echo.answer, bytes)]
        self.server = Server("127.0.0.1:0", (), Dispatcher(methods, authenticator), _is_ready)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    @property
    def seen(self) -> list[str]:
        return [call.client_address for call in self.echo.calls]

    async def call_on_a_lane_of(self, service: str, metadata: dict[str, str]) -> None:
        transport = LaneTransport(ServiceIdentity(KEYS[service], service).towards("echo_svc").token)
        try:
            await transport.call(self.address, ECHO, b"hi", metadata, 5.0)
        finally:
            await transport.close()


async def _is_ready() -> bool:
    return True


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    link = Link()
    await link.server.start()
    yield link
    await link.server.stop(0)


async def test_the_gateway_says_on_its_lane_where_each_call_comes_from(
    link: Link,
) -> None:
    await link.call_on_a_lane_of("gateway_http", {CLIENT_ADDRESS: FORGED})
    assert link.seen == [FORGED]


@pytest.mark.parametrize("service", ["account_svc", "gacha_svc"])
@pytest.mark.parametrize("said", [{CLIENT_ADDRESS: FORGED}, {}])
async def test_on_another_services_lane_it_is_that_service(
    link: Link, service: str, said: dict[str, str]
) -> None:
    await link.call_on_a_lane_of(service, said)
    assert link.seen == [OWN]


@pytest.mark.parametrize("caller", ["nobody", *SERVICES])
async def test_a_unary_call_comes_from_its_peers_address(link: Link, caller: str) -> None:
    """Also with the gateway's token, because a stolen token comes from another connection."""
    said = [(CLIENT_ADDRESS, FORGED), (CLIENT_ADDRESS, "203.0.113.9")]
    if caller != "nobody":
        said.extend(ServiceIdentity(KEYS[caller], caller).towards("echo_svc").metadata().items())
    async with grpc.aio.insecure_channel(link.address) as channel:
        echo: Any = channel.unary_unary(ECHO)
        await echo(b"hi", metadata=tuple(said))
    assert link.seen == [OWN]


@pytest.mark.parametrize("source", [OWN, "127.0.0.2"])
async def test_the_client_address_is_that_of_the_connection(link: Link, source: str) -> None:
    async with (
        relayed(link.server.port, source) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        echo: Any = channel.unary_unary(ECHO)
        await echo(b"hi")
    assert link.seen == [source]
