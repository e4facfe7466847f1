"""No bad request affects anything but itself, even if it is sent often.

Each pill is sent hundreds of times while a player plays. Afterwards no breaker has
opened, no lane has broken, no process has been restarted, and the player has seen no
error.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import grpc
import httpx
import pytest

from proof.clients.client import ACCOUNT, GACHA
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from tests.e2e import harm
from tests.e2e.conftest import addresses
from tests.e2e.hostile.poison import PILLS, Pill, Target, nobodys_login

pytestmark = pytest.mark.usefixtures("unharmed_mesh", "answers_afterwards")

TIMES = 240
AT_ONCE = 40
GEMS = 1_000_000
REFUSED_LOGIN = 401
ROOM_TIMEOUT_SECONDS = 20.0
ROUNDS_BESIDE = 5
"""How often the player must have gone round during each pill, at the least."""


@dataclass
class Playing:
    """A player who reads and pulls continuously."""

    http: httpx.AsyncClient
    player: Player
    round_count: int = 0
    errors: list[str] = field(default_factory=list)

    async def keep_playing(self) -> None:
        headers = {"authorization": f"Bearer {self.player.token}"}
        while True:
            pull = headers | {"idempotency-key": uuid4().hex}
            for verb, path, sent in (
                ("GET", "/currency", headers),
                ("GET", "/items", {}),
                ("POST", "/gacha/pull/standard", pull),
            ):
                answer = await self.http.request(verb, path, headers=sent)
                if answer.status_code != httpx.codes.OK:
                    self.errors.append(f"{verb} {path}: {answer.text}")
            self.round_count += 1


@asynccontextmanager
async def playing(mesh: Mesh, player: Player) -> AsyncIterator[Playing]:
    """Plays until the context ends."""
    async with httpx.AsyncClient(base_url=mesh.gateway, timeout=30.0) as http:
        someone = Playing(http, player)
        task = asyncio.create_task(someone.keep_playing())
        try:
            yield someone
        finally:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled() and task.exception() is not None:
                someone.errors.append(repr(task.exception()))


@asynccontextmanager
async def target_of(mesh: Mesh, player: Player) -> AsyncIterator[Target]:
    """The first instance of each service, and the gateway."""
    account, gacha = (addresses(mesh)[service] for service in (ACCOUNT, GACHA))
    limits = httpx.Limits(max_connections=AT_ONCE)
    async with (
        httpx.AsyncClient(base_url=mesh.gateway, timeout=30.0, limits=limits) as http,
        grpc.aio.insecure_channel(account) as account_channel,
        grpc.aio.insecure_channel(gacha) as gacha_channel,
    ):
        yield Target(http, mesh.gateway, account_channel, gacha_channel, account, player.token)


async def send_often(pill: Pill, target: Target) -> None:
    """Sends all pills, that many at the same time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def send_one() -> None:
        async with room:
            await pill(target)

    await asyncio.gather(*(send_one() for _ in range(TIMES)))


async def wait_until_logins_have_room(mesh: Mesh) -> None:
    """Waits for the time in the hint of the refusals."""
    async with httpx.AsyncClient(base_url=mesh.gateway, timeout=30.0) as http:
        async with asyncio.timeout(ROOM_TIMEOUT_SECONDS):
            while (await http.post("/login", json=nobodys_login())).status_code != REFUSED_LOGIN:
                await asyncio.sleep(0.1)


@pytest.mark.timeout(60)
async def test_a_login_without_time_turns_no_other_call_away(mesh: Mesh) -> None:
    await wait_until_logins_have_room(mesh)
    async with httpx.AsyncClient(base_url=mesh.gateway, timeout=30.0) as http:
        for _ in range(30):
            hasty = http.post("/login", json=nobodys_login(), headers={"grpc-timeout": "5m"})
            patient = http.post("/login", json=nobodys_login())
            _, answer = await asyncio.gather(hasty, patient)
            assert answer.status_code == REFUSED_LOGIN, answer.text


@pytest.fixture(scope="module")
def poisoner(new_player: NewPlayer) -> Player:
    """The player who sends the pills."""
    return new_player(GEMS)


@pytest.fixture(scope="module")
def neighbour(new_player: NewPlayer) -> Player:
    """The player who plays at the same time."""
    return new_player(GEMS)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("pill", PILLS.values(), ids=PILLS.keys())
async def test_other_callers_notice_nothing(
    mesh: Mesh, poisoner: Player, neighbour: Player, pill: Pill
) -> None:
    pids, lines = harm.pids(mesh), harm.lines_of_harm(mesh)
    async with playing(mesh, neighbour) as someone, target_of(mesh, poisoner) as target:
        await send_often(pill, target)
        enough = someone.round_count + ROUNDS_BESIDE
        while someone.round_count < enough and not someone.errors:
            await asyncio.sleep(0.01)
    assert someone.errors == []
    await wait_until_logins_have_room(mesh)
    assert harm.lines_of_harm(mesh) == lines
    assert harm.pids(mesh) == pids
