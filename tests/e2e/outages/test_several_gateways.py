"""Two gateways: the effect on clients and HAProxy when one stops and when one dies."""

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from deploy.local.layout import REPOSITORY
from proof.invariants import broken_invariants
from proof.load.pull_load import PullingPlayer, PullLoad
from proof.load.seeded_players import make_players
from proof.stack import RUNNER, Mesh, start_mesh
from tests.e2e import haproxy, harm
from tests.e2e.haproxy import Callers

README = (REPOSITORY / "README.md").read_text()
SIGN_IN_QUOTA = 40
LIMITS = {
    "GATEWAY_LIMIT_ADDRESS": "1000000;w=10",
    "GATEWAY_LIMIT_PLAYER": "500000;w=3600",
    "GATEWAY_LIMIT_SIGN_IN": f"{SIGN_IN_QUOTA};w=3600",
}
PLAYER_COUNT = 4
GEMS = 10_000_000
REQUESTS_AROUND = 30
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh with two gateways."""
    folder = tmp_path_factory.mktemp("pair") / "var"
    mesh = start_mesh(folder, (*RUNNER, "--gateways", "2"), LIMITS)
    yield mesh
    assert mesh.stop() == 0


@pytest.fixture(scope="module")
def proxy(pair: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HAProxy in front of them."""
    addresses = [each["address"] for each in pair.processes("gateway_http")]
    with haproxy.running(addresses, tmp_path_factory.mktemp("haproxy") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def players(pair: Mesh) -> list[PullingPlayer]:
    async def make() -> list[PullingPlayer]:
        load = PullLoad(pair.gateway, seed=1)
        async with load.client() as client:
            return [await load.player(client, GEMS) for _ in range(PLAYER_COUNT)]

    return asyncio.run(make())


@asynccontextmanager
async def calling(url: str, players: list[PullingPlayer]) -> AsyncIterator[Callers]:
    """Load before, during and after the context's body."""
    callers = Callers(url, players)
    running = asyncio.create_task(callers.run())
    try:
        await callers.until_more_of_each(REQUESTS_AROUND)
        yield callers
        await callers.until_more_of_each(REQUESTS_AROUND)
    finally:
        callers.stop()
        await running


async def until_restarted(pair: Mesh, name: str, pid: int | None) -> None:
    """Waits until the runner has restarted it, and it is ready."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            (process,) = [each for each in pair.processes("gateway_http") if each["name"] == name]
            if process["pid"] not in (pid, None):
                try:
                    async with httpx.AsyncClient() as client:
                        ready = await client.get(f"http://{process['address']}/readyz")
                    if ready.status_code == 200:
                        return
                except httpx.TransportError:
                    pass
            await asyncio.sleep(0.05)


def pid_of(pair: Mesh, name: str) -> int:
    (pid,) = [each["pid"] for each in pair.processes("gateway_http") if each["name"] == name]
    assert pid is not None
    return pid


def test_each_gateway_has_a_port_of_its_own_and_all_are_listed(pair: Mesh) -> None:
    first, second = pair.processes("gateway_http")
    assert pair.gateway == f"http://{first['address']}"
    assert first["address"] != second["address"]
    for each in (first, second):
        status = httpx.get(
            f"http://{each['address']}/status", headers=harm.operators_headers(pair)
        ).json()
        assert status["gateway"]["id"] == each["name"]
        listed = {entry["id"] for entry in status["services"]["gateway_http"]}
        assert listed == {first["name"], second["name"]}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["gateway_http-1", "gateway_http-2"])
async def test_a_gateway_that_leaves_costs_no_request(
    pair: Mesh, proxy: str, players: list[PullingPlayer], name: str
) -> None:
    async with calling(proxy, players) as callers:
        pid = pid_of(pair, name)
        os.kill(pid, signal.SIGTERM)
        await until_restarted(pair, name, pid)
    for kind, seen in callers.seen.items():
        assert (kind, seen.failures, seen.repeated_count) == (kind, {}, 0)
    assert await asyncio.to_thread(broken_invariants, pair) == []


@pytest.mark.timeout(180)
async def test_a_gateway_that_dies_costs_only_requests_that_must_not_be_repeated(
    pair: Mesh, proxy: str, players: list[PullingPlayer]
) -> None:
    async with calling(proxy, players) as callers:
        pid = pid_of(pair, "gateway_http-2")
        os.kill(pid, signal.SIGKILL)
        await until_restarted(pair, "gateway_http-2", pid)
    assert callers.seen["read"].failures == {}
    assert callers.seen["keyed pull"].failures == {}
    lost = callers.seen["pull"].failures
    assert set(lost) <= {"502", *haproxy.CLOSED}
    # At most the requests that were in progress on its connections.
    assert sum(lost.values()) <= 2 * PLAYER_COUNT
    assert sum(seen.repeated_count for seen in callers.seen.values()) <= 4 * PLAYER_COUNT
    assert await asyncio.to_thread(broken_invariants, pair) == []


def test_gateways_keep_one_limit_together(pair: Mesh) -> None:
    """A trusted proxy forwards one client to both in turn."""
    forwarded = {"x-forwarded-for": "203.0.113.5, 198.51.100.7"}
    clients = [
        httpx.Client(base_url=f"http://{each['address']}", headers=forwarded)
        for each in pair.processes("gateway_http")
    ]
    admitted, refused = 0, [0, 0]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while min(refused) == 0:
        assert time.monotonic() < deadline
        for number, client in enumerate(clients):
            answer = client.post("/login", json={"username": "nobody"})
            assert answer.headers["ratelimit-policy"].endswith(
                f'"sign-in";q={SIGN_IN_QUOTA};w=3600'
            )
            if answer.status_code == 429:
                assert answer.json()["reason"] == "RATE_LIMITED"
                assert int(answer.headers["retry-after"]) > 1
                refused[number] += 1
            else:
                assert answer.status_code == 400
                admitted += 1
        time.sleep(0.02)
    for client in clients:
        client.close()
    # Each may admit requests before its first exchange, and since its last one.
    assert SIGN_IN_QUOTA <= admitted <= SIGN_IN_QUOTA * 1.5


def test_no_other_token_or_spelling_brings_a_player_a_new_quota(pair: Mesh) -> None:
    (player,) = make_players(pair, 1)
    with httpx.Client(base_url=pair.gateway) as client:
        body = {"refresh_token": player.refresh_token}
        refreshed = client.post("/refresh", json=body).json()["token"]
        left = []
        for token in (player.token, refreshed):
            for spelled in ("Bearer {}", "bearer {}", "BEARER   {}"):
                headers = {"authorization": spelled.format(token)}
                answer = client.get(f"/purchases/{uuid4()}", headers=headers)
                assert answer.status_code == 404
                name, remaining, _ = answer.headers["ratelimit"].split(";")
                assert name == '"player"'
                left.append(int(remaining.removeprefix("r=")))
    assert left == list(range(left[0], left[0] - len(left), -1))


def test_the_readme_starts_haproxy_before_them(pair: Mesh, tmp_path: Path) -> None:
    (block,) = re.findall(
        r"```sh\nmake down\nmake up GATEWAYS=2 DETACH=1 &&\n(.*?)```", README, re.DOTALL
    )
    port, folder = haproxy.free_port(), str(Path(haproxy.program()).parent)
    script = block.replace("var/mesh.json", str(pair.layout.mesh)).replace("8000", str(port))
    # The last line keeps running, as this process.
    script = script.replace("HAPROXY_LISTEN", "exec env HAPROXY_LISTEN")
    environment = {"PATH": os.pathsep.join([folder, os.environ["PATH"]])}
    log = tmp_path / "log"
    with haproxy.launched(["bash", "-euc", script], environment, log) as process:
        haproxy.wait_for(f"http://127.0.0.1:{port}", 200, process, log)


async def test_without_any_gateway_callers_get_the_json_error(tmp_path: Path) -> None:
    with haproxy.running(["127.0.0.1:1"], tmp_path / "log", is_ready=False) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            answer = await client.get("/items")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["reason"] == "NO_GATEWAY"
