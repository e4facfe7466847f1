"""One caller with many calls takes no place of the others."""

import asyncio
from collections import Counter
from uuid import uuid4

import orjson
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway_http.app import Gateway
from gateway_http.edge.calls_in_flight import CallBounds, CallsInFlight
from gateway_http.edge.client_address import ClientAddresses
from gateway_http.edge.refusal_pace import FREE_REFUSALS, RefusalPace
from gateway_http.edge.response_headers import ResponseHeaders
from mesh.errors import Unauthenticated
from mesh.identity.keys import fixed_known_keys
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner
from tests.unit.gateway.fakes import (
    Answer,
    FakeCaller,
    answer_of,
    counted_ids,
    edge_of,
    http_request,
    router_for,
)

KEY = Ed25519PrivateKey.generate()
NOW = 1_700_000_000.0
OF_PLAYER, OF_ADDRESS, OF_PLAYERS, OF_NETWORK, OF_ALL = 3, 4, 25, 50, 100
CURRENCY = "/account.v1.AccountService/GetCurrency"


def token(player: str, key: Ed25519PrivateKey = KEY) -> dict[str, str]:
    """The header of a new token of that player."""
    signed = TokenSigner(key, PLAYER_AUDIENCE, 900, lambda: NOW).sign(player, sid=str(uuid4()))
    return {"authorization": f"Bearer {signed}"}


class Crowded:
    """A gateway whose services answer only after `answer_all`."""

    def __init__(self, answers: dict[str, bytes | Exception] | None = None) -> None:
        self.caller = FakeCaller(answers or {}, wait_seconds=30)
        addresses = ClientAddresses(())
        self.refused: Counter[str] = Counter()
        self.gateway = Gateway(
            router_for(self.caller),
            edge=edge_of(
                addresses,
                ResponseHeaders((), addresses, hsts_seconds=0),
                player_keys=fixed_known_keys(KEY.public_key()),
                clock=lambda: NOW,
                calls_in_flight=CallsInFlight(
                    CallBounds(OF_PLAYER, OF_ADDRESS, OF_PLAYERS, OF_NETWORK),
                    lambda policy: self.refused.update([policy]),
                ),
                refusal_pace=RefusalPace(),
            ),
            max_in_flight=OF_ALL,
            new_id=counted_ids(),
            log=structlog.get_logger(),
        )
        self.tasks: list[asyncio.Task[Answer]] = []

    def ask(
        self, path: str, headers: dict[str, str], client: str = "192.0.2.1:5"
    ) -> asyncio.Task[Answer]:
        request = http_request("GET", path, headers=headers, client=client)
        task = asyncio.create_task(answer_of(self.gateway, request))
        self.tasks.append(task)
        return task

    async def calls_after(self, count: int) -> int:
        """The calls to services, once so many requests have been answered."""
        async with asyncio.timeout(10):
            while sum(task.done() for task in self.tasks) < count:
                await asyncio.sleep(0.001)
        return len(self.caller.calls)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_a_player_has_a_bounded_number_of_calls_under_way() -> None:
    crowded = Crowded()
    player = str(uuid4())
    many = [crowded.ask("/currency", token(player)) for _ in range(OF_PLAYER + 5)]
    assert await crowded.calls_after(5) == OF_PLAYER
    refused = many[-1].result()
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    error = orjson.loads(refused.body)
    assert error["reason"] == "TOO_MANY_CALLS"
    assert f"{OF_PLAYER} calls under way" in error["message"]
    assert crowded.refused == {"player-in-flight": 5}
    crowded.ask("/currency", token(str(uuid4())))
    async with asyncio.timeout(10):
        while len(crowded.caller.calls) == OF_PLAYER:
            await asyncio.sleep(0.001)
    await crowded.close()
    crowded.caller.wait_seconds = 0
    assert (await crowded.ask("/currency", token(player))).status == 200


@pytest.mark.parametrize(
    ("clients", "bound"),
    [
        (["192.0.2.1:5"], OF_PLAYERS),
        ([f"[2001:db8:0:{each << 8:x}::1]:5" for each in range(OF_ALL)], OF_NETWORK),
    ],
    ids=["one address", "one /48"],
)
async def test_many_players_at_one_address_leave_room_to_others(
    clients: list[str], bound: int
) -> None:
    crowded = Crowded()
    for number in range(OF_ALL):
        client = clients[number % len(clients)]
        crowded.ask("/currency", token(str(uuid4())), client)
    # A caller waits for its later refusals, so look at the first of them alone.
    assert await crowded.calls_after(10) == bound
    crowded.ask("/currency", token(str(uuid4())), "198.51.100.7:5")
    async with asyncio.timeout(10):
        while len(crowded.caller.calls) == bound:
            await asyncio.sleep(0.001)
    await crowded.close()


@pytest.mark.parametrize(
    ("path", "headers", "bound"),
    [
        ("/currency", token(str(uuid4()), Ed25519PrivateKey.generate()), OF_PLAYER),
        ("/prices", {}, OF_ADDRESS),
    ],
    ids=["forged tokens", "public routes"],
)
async def test_an_address_has_a_bounded_number_of_calls_that_name_nobody(
    path: str, headers: dict[str, str], bound: int
) -> None:
    crowded = Crowded()
    for _ in range(bound + 2):
        crowded.ask(path, headers)
    assert await crowded.calls_after(2) == bound
    crowded.ask("/currency", token(str(uuid4())))
    crowded.ask(path, headers, client="192.0.2.2:5")
    async with asyncio.timeout(10):
        while len(crowded.caller.calls) < bound + 2:
            await asyncio.sleep(0.001)
    await crowded.close()


async def test_who_is_refused_again_and_again_waits_for_each_refusal() -> None:
    crowded = Crowded()
    player = str(uuid4())
    for _ in range(OF_PLAYER + FREE_REFUSALS + OF_ALL):
        crowded.ask("/currency", token(player))
    await crowded.calls_after(FREE_REFUSALS)
    for _ in range(20):  # many iterations, in less than the pause
        await asyncio.sleep(0)
    assert sum(task.done() for task in crowded.tasks) < FREE_REFUSALS + OF_ALL / 2
    # Those that wait take no room in the gateway.
    crowded.caller.wait_seconds = 0
    assert (await crowded.ask("/items", {})).status == 200
    await crowded.close()


async def test_forged_tokens_keep_their_place_while_their_refusal_waits() -> None:
    crowded = Crowded({CURRENCY: Unauthenticated("no", reason="TOKEN_INVALID")})
    crowded.caller.wait_seconds = 0
    forged = token(str(uuid4()), Ed25519PrivateKey.generate())
    for _ in range(FREE_REFUSALS):
        assert (await crowded.ask("/currency", forged)).status == 401
    before = len(crowded.caller.calls)
    for _ in range(50):
        crowded.ask("/currency", forged)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(crowded.caller.calls) - before == OF_PLAYER
    await crowded.close()


async def test_many_requests_of_one_caller_begin_a_few_at_a_time() -> None:
    crowded = Crowded()
    crowd = [crowded.ask("/nowhere", {}) for _ in range(400)]
    other = crowded.ask("/nowhere", {}, client="192.0.2.2:5")
    assert (await other).status == 404
    assert sum(task.done() for task in crowd) < len(crowd) / 2
    assert {answer.status for answer in await asyncio.gather(*crowd)} == {404}
