"""The rights of operators: `make admin-token`, and a mesh where only they may call InitDb."""

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deploy.local.layout import REPOSITORY
from deploy.local.parent_bound import bound_to_parent
from deploy.local.servers.ports import HOST, free_ports
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from tests.authorization import documented
from tests.e2e.access.callers import callers
from tests.e2e.hostile.refusals import refusal

START_SECONDS = 60.0
INIT_DB = "gacha.v1.CatalogService/InitDb"


def admin_token(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deploy.gachactl", "admin-token", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )


@contextmanager
def process(mesh: Mesh, role: str, address: str, **settings: str) -> Iterator[None]:
    """Runs another process of that role within the context, with the mesh's keys and these
    settings."""
    layout = mesh.layout
    environment = os.environ | {
        "MESH_INSTANCE_ID": f"{role}-apart",
        "MESH_LISTEN": address,
        "MESH_METRICS_LISTEN": f"{HOST}:0",
        "MESH_SERVICE_KEYS_DIR": str(layout.public_keys),
        "MESH_SERVICE_KEY_FILE": str(layout.service_key(role)),
        **settings,
    }
    with subprocess.Popen(
        bound_to_parent([sys.executable, "-m", role]),
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            yield
        finally:
            running.kill()


@pytest.fixture(scope="module")
def locked(mesh: Mesh) -> Iterator[httpx.Client]:
    """REST of a gateway with a registry and a gacha service of its own, over the mesh's
    databases and by its keys, where InitDb was not opened."""
    registry, gacha, gateway = (
        f"{HOST}:{port}" for port in itertools.islice(free_ports(random.Random()), 3)
    )
    with (
        process(mesh, "registry", registry),
        process(
            mesh,
            "gacha_svc",
            gacha,
            MESH_REGISTRIES=registry,
            DATABASE_URL=mesh.database_url("gacha"),
            GACHA_INIT_DB="admin",
        ),
        process(mesh, "gateway_http", gateway, MESH_REGISTRIES=registry),
        httpx.Client(base_url=f"http://{gateway}", timeout=20.0, trust_env=False) as http,
    ):
        _wait_for_items(http)
        yield http


def _wait_for_items(http: httpx.Client) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if http.get("/items").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the gateway does not reach its gacha service"
        time.sleep(0.1)


def test_initdb_is_an_operators_where_it_was_not_opened(
    locked: httpx.Client, mesh: Mesh, new_player: NewPlayer, bystander: Player
) -> None:
    line = next(each for each in documented() if each.path == INIT_DB)
    asking = callers(mesh, bystander, new_player(), "gacha_svc")
    said = {}
    for caller in asking:
        answer = locked.get("/initdb", headers=caller.metadata())
        said[caller.name] = "" if answer.status_code == 200 else answer.json()["reason"]
    assert said == {each.name: each.expected(line, is_opened=False) for each in asking}
    assert [name for name, reason in said.items() if not reason] == ["admin"]


def test_refusals_of_initdb_are_the_usual_ones(locked: httpx.Client, bystander: Player) -> None:
    refusal(locked.get("/initdb"), 401, "UNAUTHENTICATED", "TOKEN_MISSING")
    shown = {"authorization": f"Bearer {bystander.token}"}
    refused = refusal(
        locked.get("/initdb", headers=shown), 403, "PERMISSION_DENIED", "WRONG_CALLER"
    )
    assert "only for admin" in refused["message"]


def test_the_command_prints_a_token_that_opens_initdb(locked: httpx.Client, mesh: Mesh) -> None:
    made = admin_token("--folder", str(mesh.layout.folder))
    assert made.returncode == 0, made.stderr
    shown = {"authorization": f"Bearer {made.stdout.strip()}"}
    assert locked.get("/initdb", headers=shown).status_code == 200
    by_key = admin_token("--key-file", str(mesh.layout.admin_key), "--format", "json")
    assert by_key.returncode == 0, by_key.stderr
    shown = {"authorization": f"Bearer {json.loads(by_key.stdout)['token']}"}
    assert locked.get("/initdb", headers=shown).status_code == 200


def test_the_command_names_the_missing_key(tmp_path: Path) -> None:
    made = admin_token("--key-file", str(tmp_path / "secrets/service_keys/admin.pem"))
    assert (made.returncode, made.stdout) == (1, "")
    assert "secrets/service_keys/admin.pem cannot be used" in made.stderr
