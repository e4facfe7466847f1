"""A rolling restart under load: callers without retries see no failed call."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import uuid4

import httpx
import pytest

from deploy.local.layout import REPOSITORY
from mesh.calling.client import ServiceClient
from mesh.calls import AUTHORIZATION
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.identity.service_identity import ServiceIdentity
from mesh.lanes.transport import LaneTransport
from mesh.membership.discovery import Directory
from proof.clients.rest_client import RestClient
from proof.invariants import broken_invariants
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from proof.tokens import key_of
from protos.gacha.v1 import gacha_pb2
from tests.e2e import harm

ROLL_TIMEOUT_SECONDS = 150.0
REST_CALLERS, GRPC_CALLERS = 3, 6
"""Those of REST for each kind of connection."""
DEADLINE_SECONDS = 10.0
ROLLED = ("registry", "account_svc", "gacha_svc", "gateway_http")

Once = Callable[[], Awaitable[str]]


@pytest.mark.timeout(240)
async def test_a_roll_under_load_fails_no_call(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player(1_000_000)
    before = harm.pids(mesh)
    answers: Counter[str] = Counter()
    stop = asyncio.Event()
    async with httpx.AsyncClient(base_url=mesh.gateway, timeout=15, trust_env=False) as http:
        identity = ServiceIdentity(key_of(mesh, "gateway_http"), "gateway_http")
        directory = Directory([mesh.registry], identity.towards("registry").token)
        directory.start()
        await directory.first_snapshot(5)
        transport = LaneTransport(identity.towards("gacha_svc").token)
        gacha = ServiceClient("gacha_svc", directory, transport=transport)
        rests = [
            _keep_calling(stop, answers, _rest(http, player, how))
            for how in ("close", "keep-alive")
            for _ in range(REST_CALLERS)
        ]
        grpcs = [_keep_calling(stop, answers, _grpc(gacha, player)) for _ in range(GRPC_CALLERS)]
        callers = [asyncio.create_task(caller) for caller in (*rests, *grpcs)]
        said = await asyncio.to_thread(_roll, mesh)
        stop.set()
        await asyncio.gather(*callers)
        await gacha.close()
        await directory.close()
    assert set(answers) == {"rest ok", "grpc ok"}, (answers, said)
    after = harm.pids(mesh)
    restarted = {name for name in before if before[name] != after[name]}
    assert restarted == {each["name"] for role in ROLLED for each in mesh.processes(role)}
    assert await asyncio.to_thread(broken_invariants, mesh) == []
    harm.assert_all_serve(mesh, rest)


async def _keep_calling(stop: asyncio.Event, answers: Counter[str], once: Once) -> None:
    while not stop.is_set():
        answers[await once()] += 1


def _rest(http: httpx.AsyncClient, player: Player, connection: str) -> Once:
    """With `connection` close each call has its own connection."""

    async def once() -> str:
        headers = {
            "authorization": f"Bearer {player.token}",
            "idempotency-key": uuid4().hex,
            "connection": connection,
        }
        try:
            answer = await http.post("/gacha/pull/standard", json={"count": 1}, headers=headers)
        except httpx.TransportError as error:
            return f"rest {type(error).__name__}: {error}"
        return "rest ok" if answer.status_code == 200 else f"rest {answer.text}"

    return once


def _grpc(gacha: ServiceClient, player: Player) -> Once:
    request = gacha_pb2.GetInventoryRequest().SerializeToString()
    metadata = {AUTHORIZATION: f"Bearer {player.token}"}

    async def once() -> str:
        try:
            await gacha.call(
                "/gacha.v1.GachaService/GetInventory",
                request,
                metadata,
                Deadline.after(DEADLINE_SECONDS),
            )
        except MeshError as error:
            return f"grpc {error.code.name} {error.reason}"
        return "grpc ok"

    return once


def _roll(mesh: Mesh) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.gachactl", "roll", "--folder", str(mesh.layout.folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=ROLL_TIMEOUT_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
