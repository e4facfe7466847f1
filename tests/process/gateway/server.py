"""A real gateway with a fake caller; pages of ORIGIN may read its answers:
`python -m tests.process.gateway.server LISTEN WAIT_SECONDS [ORIGIN]`.

Prints its port, and at the end the outcomes of its calls.
"""

import asyncio
import signal
import sys
from typing import Any
from uuid import uuid4

import structlog
import uvloop

from gateway_http.app import Gateway
from gateway_http.describing.pages import Presence
from gateway_http.listening.bounds import Bounds
from gateway_http.listening.server import HttpServer
from gateway_http.listening.sockets import listening_socket
from mesh.errors import FailedPrecondition
from protos.account.v1 import account_pb2
from protos.gacha.v1 import gacha_pb2
from tests.unit.gateway.fakes import FakeCaller, plain_edge, router_for


async def serve(listen: str, wait_seconds: float, *origins: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    caller = FakeCaller(wait_seconds=wait_seconds)
    caller.answers = {
        "/account.v1.AccountService/GetCurrency": account_pb2.GetCurrencyResponse(
            user_id="u", currency_balance=2**53 - 1
        ).SerializeToString(),
        "/account.v1.AccountService/BuyCurrency": account_pb2.BuyCurrencyResponse(
            message="Currency purchased successfully", new_balance=7
        ).SerializeToString(),
        "/gacha.v1.GachaService/Pull": gacha_pb2.PullResponse(
            pulled_items=[gacha_pb2.PulledItem(item_id=1, name="Sword", rarity="rare")] * 10
        ).SerializeToString(),
        "/gacha.v1.CatalogService/ListItems": FailedPrecondition(
            "No items", reason="CATALOG_EMPTY"
        ),
    }
    listener = listening_socket(listen)
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - read by the test
    gateway = Gateway(
        router_for(caller, presence=Presence("gateway-1", listen, lambda: 0.0)),
        edge=plain_edge(*origins),
        max_in_flight=64,
        new_id=lambda: uuid4().hex,
        log=structlog.get_logger(),
    )
    server = HttpServer(gateway, listener, bounds=Bounds())
    serving: asyncio.Task[Any] = asyncio.create_task(server.serve())
    await stop.wait()
    server.leave()
    await asyncio.wait_for(serving, 10)
    print(f"calls={len(caller.calls)} cancelled={caller.cancelled_count}")  # noqa: T201


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], float(sys.argv[2]), *sys.argv[3:]))
