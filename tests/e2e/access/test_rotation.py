"""Rotation of the players' signing keys on a running mesh: under load, with mistakes, at once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import jwt
import pytest

from account_svc.adapters.signing_keys.making import make_signing_key
from account_svc.domain.signing.signing_keys import file_name
from account_svc.use_cases.key_rotation import REFUSED_SECONDS
from deploy.local.layout import REPOSITORY
from deploy.local.secrets.certificates import now_utc
from mesh.identity.keys import key_id, load_private_key
from proof.clients.client import Client
from proof.clients.grpc_client import GrpcClient
from proof.clients.rest_client import RestClient
from proof.invariants import broken_invariants
from proof.players import PASSWORD, Player, register
from proof.stack import BUSY_MACHINE, Mesh, start_mesh
from proof.tokens import Forge
from tests.e2e import harm
from tests.e2e.conftest import addresses

ROTATION_SECONDS = 90.0
PULLERS = 4
RESTART_EVERY_SECONDS = 6.0
GEMS = 1_000_000
POLL_SECONDS = 0.1

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh for this module, because a revoked key logs all players out."""
    mesh = start_mesh(tmp_path_factory.mktemp("rotation") / "var", environment=BUSY_MACHINE)
    yield mesh
    assert mesh.stop() == 0


@pytest.fixture(scope="module")
def own_rest(own_mesh: Mesh) -> Iterator[RestClient]:
    client = RestClient(own_mesh.gateway, own_mesh.trust)
    yield client
    client.close()


@pytest.fixture(scope="module")
def instances(own_mesh: Mesh) -> Iterator[list[Client]]:
    """gRPC directly to each instance of both services."""
    clients: list[Client] = [GrpcClient(addresses(own_mesh, number)) for number in (0, 1)]
    yield clients
    for client in clients:
        client.close()


def rotate_keys(mesh: Mesh, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deploy.gachactl", "rotate-keys", *options]
    return subprocess.run(
        [*command, "--folder", str(mesh.layout.folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=ROTATION_SECONDS,
    )


def kid_of(token: str) -> str:
    kid: str = jwt.get_unverified_header(token)["kid"]
    return kid


def published(rest: RestClient) -> set[str]:
    return {key["kid"] for key in rest.key_set().body["keys"]}


def refusals(clients: list[Client], token: str) -> set[str]:
    """The refusals of a token by all instances; empty if all accept it."""
    answers = [call(token) for each in clients for call in (each.currency, each.inventory)]
    return {answer.reason for answer in answers if not answer.ok}


def wait_until(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(POLL_SECONDS)


@contextmanager
def load(mesh: Mesh, player: Player, another: Player) -> Iterator[tuple[Counter[str], set[str]]]:
    """Pulls with an old token, and with new ones right after each login of another player, from
    one instance to the next. The logins end only the other player's older sessions. Counts the
    answers by what was asked, and collects the keys of the tokens."""
    answers: Counter[str] = Counter()
    kids: set[str] = set()
    stop = threading.Event()

    def pull(rest: RestClient) -> None:
        while not stop.is_set():
            answer = rest.pull(player.token)
            answers["old token" if answer.ok else f"old token: {answer.message}"] += 1

    def log_in_and_pull(rest: RestClient) -> None:
        while not stop.is_set():
            login = rest.login(another.username, PASSWORD)
            if not login.ok:
                answers[f"login: {login.message}"] += 1
                continue
            token = login.body["token"]
            kids.add(kid_of(token))
            for answer in (rest.pull(token), rest.currency(token), rest.inventory(token)):
                answers["new token" if answer.ok else f"new token: {answer.message}"] += 1

    clients = [RestClient(mesh.gateway, mesh.trust) for _ in range(PULLERS)]
    with ThreadPoolExecutor(PULLERS) as threads:
        works = [
            threads.submit(pull if number else log_in_and_pull, client)
            for number, client in enumerate(clients)
        ]
        try:
            yield answers, kids
        finally:
            stop.set()
            for work in works:
                work.result()
    for client in clients:
        client.close()


def test_a_rotation_under_load_refuses_no_call(
    own_mesh: Mesh, own_rest: RestClient, instances: list[Client]
) -> None:
    player = register(own_rest, GEMS)
    first = kid_of(player.token)
    pids = harm.pids(own_mesh)
    with load(own_mesh, player, register(own_rest, GEMS)) as (answers, kids):
        ended = rotate_keys(own_mesh)
        assert ended.returncode == 0, ended.stderr
        wait_until(lambda: len(kids) == 2, 10, "a token of the new key")
    assert set(answers) == {"old token", "new token"}, answers
    assert published(own_rest) == kids
    assert kid_of(own_rest.login(player.username, PASSWORD).body["token"]) != first
    assert refusals(instances, player.token) == set(), "the old token is good until it expires"
    assert harm.pids(own_mesh) == pids, "nothing is restarted"
    (second,) = kids - {first}
    assert f"Key {second} signs at all of account_svc-1, account_svc-2." in ended.stderr
    assert f"Key {first}" in ended.stderr
    assert first in ended.stdout
    assert "stays until" in ended.stdout
    modes = {path.stat().st_mode & 0o777 for path in keys_of(own_mesh).iterdir()}
    assert modes == {0o600}
    assert broken_invariants(own_mesh) == []


def says(log: Path, words: str) -> bool:
    return words in log.read_text()


def keys_of(mesh: Mesh) -> Path:
    return mesh.layout.signing_keys


def test_instances_that_restart_amid_a_rotation_refuse_nothing(
    own_mesh: Mesh, own_rest: RestClient, instances: list[Client]
) -> None:
    player = register(own_rest)
    made = make_signing_key(keys_of(own_mesh), now_utc())
    new = key_id(load_private_key(made.read_bytes()).public_key())
    tokens = {player.token}
    deadline = time.monotonic() + ROTATION_SECONDS
    restarts = iter(["account_svc-1", "account_svc-2", "gacha_svc-1", "account_svc-1"])
    restart_at = time.monotonic()
    while {kid_of(token) for token in log_in_everywhere(instances, player)} != {new}:
        assert time.monotonic() < deadline, "the new key does not sign"
        if time.monotonic() > restart_at and (name := next(restarts, "")):
            own_mesh.kill_process(name)
            restart_at = time.monotonic() + RESTART_EVERY_SECONDS
        tokens |= log_in_everywhere(instances, player)
        for token in tokens:
            said = refusals(instances, token)
            assert not {reason for reason in said if "TOKEN" in reason}, said
    harm.assert_all_serve(own_mesh, own_rest)
    # So many logins end the oldest sessions of a player.
    assert set().union(*(refusals(instances, token) for token in tokens)) <= {"SESSION_ENDED"}
    assert all(refusals(instances, each) == set() for each in log_in_everywhere(instances, player))
    assert len({kid_of(token) for token in tokens}) >= 2


def log_in_everywhere(instances: list[Client], player: Player) -> set[str]:
    """A token of each instance that answers now."""
    answers = [each.login(player.username, PASSWORD) for each in instances]
    return {answer.body["token"] for answer in answers if answer.ok}


@pytest.mark.parametrize("fault", ["garbage", "readable for others"])
def test_a_bad_file_is_reported_and_does_no_harm(
    own_mesh: Mesh, own_rest: RestClient, instances: list[Client], fault: str
) -> None:
    player = register(own_rest)
    before = published(own_rest)
    good = min(keys_of(own_mesh).glob("*.pem"))
    path = keys_of(own_mesh) / file_name(now_utc())
    path.write_bytes(b"not a key" if fault == "garbage" else good.read_bytes())
    path.chmod(0o600 if fault == "garbage" else 0o644)
    try:
        told = "holds no Ed25519 private key" if fault == "garbage" else "may be read by others"
        for name in ("account_svc-1", "account_svc-2"):
            wait_until(
                partial(says, own_mesh.layout.log(name), f"{path.name} {told}"),
                10,
                f"{name} tells of it",
            )
        assert published(own_rest) == before
        assert refusals(instances, player.token) == set()
        assert own_rest.login(player.username, PASSWORD).ok
    finally:
        path.unlink()


def test_a_revoked_key_ends_its_tokens_everywhere_within_the_bound(
    own_mesh: Mesh, own_rest: RestClient, instances: list[Client]
) -> None:
    player = register(own_rest)
    kid = kid_of(player.token)
    assert refusals(instances, player.token) == set()
    ended = rotate_keys(own_mesh, f"--revoke={kid}")
    assert ended.returncode == 0, ended.stderr
    assert f"Removed key {kid}" in ended.stderr
    wait_until(
        lambda: (
            refusals(instances, player.token) == {"TOKEN_INVALID"}
            and not any(each.currency(player.token).ok for each in instances)
            and not any(each.inventory(player.token).ok for each in instances)
        ),
        REFUSED_SECONDS,
        "every instance refuses it",
    )
    again = own_rest.login(player.username, PASSWORD).body["token"]
    assert kid_of(again) != kid
    assert refusals(instances, again) == set()


def test_the_only_key_is_revoked_and_players_log_in_again(
    own_mesh: Mesh, own_rest: RestClient, instances: list[Client]
) -> None:
    player = register(own_rest)
    kid = key_id(own_mesh.player_key().public_key())
    for path in sorted(keys_of(own_mesh).glob("*.pem"))[1:]:
        path.unlink()
    wait_until(
        lambda: (
            all(each.key_set().body == own_rest.key_set().body for each in instances)
            and published(own_rest) == {kid}
        ),
        10,
        "one key is left",
    )
    ended = rotate_keys(own_mesh, f"--revoke={kid}")
    assert ended.returncode == 0, ended.stderr
    new = published(own_rest)
    assert kid not in new
    token = own_rest.login(player.username, PASSWORD).body["token"]
    assert kid_of(token) in new
    # Verifiers fetch an unknown key at most once a second.
    wait_until(lambda: refusals(instances, token) == set(), 5, "the new token is known")


def test_mistakes_are_reported_and_change_nothing(own_mesh: Mesh, own_rest: RestClient) -> None:
    before = published(own_rest)
    unknown = rotate_keys(own_mesh, "--revoke=unknown-key")
    assert unknown.returncode == 1
    assert all(kid in unknown.stderr for kid in before)
    both = rotate_keys(own_mesh, "--revoke=unknown-key", "--prune")
    assert "not both" in both.stderr
    kept = rotate_keys(own_mesh, "--prune", "--format=json")
    assert kept.returncode == 0, kept.stderr
    result = json.loads(kept.stdout)
    assert (result["made"], result["removed"]) == (None, [])
    assert set(result["kept"]) == before
    assert None in result["kept"].values(), "for the one that signs"
    assert published(own_rest) == before


def test_a_mesh_that_does_not_run_is_reported(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.gachactl", "rotate-keys", "--folder", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert f"start it with `gachactl up --folder {tmp_path}`" in ended.stderr


def test_made_up_keys_are_refused_and_do_no_harm(
    own_mesh: Mesh, own_rest: RestClient, instances: list[Client]
) -> None:
    player = register(own_rest)
    forge = Forge.of(own_mesh, player.token)
    for number in range(200):
        made_up = forge.signed(kid=f"made-up-{number}")
        answer = instances[number % 2].inventory(made_up)
        assert answer.reason == "TOKEN_INVALID"
    assert refusals(instances, player.token) == set()
    assert key_id(own_mesh.player_key().public_key()) in published(own_rest)


def test_tokens_are_verified_while_account_svc_does_not_answer(
    own_mesh: Mesh, own_rest: RestClient, instances: list[Client]
) -> None:
    player = register(own_rest)
    assert refusals(instances, player.token) == set()
    pids = [each["pid"] for each in own_mesh.processes("account_svc")]
    send_all(pids, signal.SIGSTOP)
    try:
        began_at = time.monotonic()
        while time.monotonic() < began_at + REFUSED_SECONDS:
            for each in instances:
                assert each.inventory(player.token).ok
            time.sleep(POLL_SECONDS)
    finally:
        send_all(pids, signal.SIGCONT)


def send_all(pids: list[int | None], number: signal.Signals) -> None:
    for pid in pids:
        assert pid is not None
        os.kill(pid, number)
