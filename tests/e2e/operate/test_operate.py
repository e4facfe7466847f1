"""An operator lists the transactions of a real mesh, and settles one by the protocol.

Recovery takes a branch when it is three seconds old, so each test must finish before.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from deploy.gachactl.transactions.listing import State, Transaction, look
from deploy.gachactl.transactions.resolution import resolve
from deploy.gachactl.transactions.sides import PULLS, Sides, access_to, connect
from deploy.local.layout import REPOSITORY
from mesh.errors import InvalidArgument
from mesh.txn.model import Outcome, new_gid
from proof.clients.grpc_client import GrpcClient
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from proof.tokens import token_of
from tests.e2e.operate.dead_coordinator import (
    GEMS,
    PARTICIPANT,
    PRICE,
    AccountDatabase,
    DeadCoordinator,
)


@contextmanager
def cursor_of(url: str) -> Iterator[Cursor]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        yield cursor


@pytest.fixture(scope="module")
def coordinator(mesh: Mesh, rest: RestClient) -> Iterator[DeadCoordinator]:
    account, gacha = (
        GrpcClient({PARTICIPANT: mesh.processes(role)[0]["address"]}, mesh.operator_files)
        for role in ("account_svc", "gacha_svc")
    )
    with closing(account), closing(gacha):
        token = partial(token_of, mesh, "gacha_svc")
        yield DeadCoordinator({"account_svc": account, "gacha_svc": gacha}, token, rest)


@pytest.fixture
def account(mesh: Mesh) -> Iterator[AccountDatabase]:
    with cursor_of(mesh.superuser_url("account")) as cursor:
        yield AccountDatabase(cursor)


@pytest.fixture
async def sides(mesh: Mesh) -> AsyncIterator[Sides]:
    async with connect(access_to(mesh.layout), PULLS) as sides:
        yield sides


async def find(sides: Sides, gid: str) -> Transaction | None:
    listing = await look(sides, datetime.now(UTC))
    assert listing.failures == {}
    return listing.find(gid)


def command(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deploy.gachactl", "tx", *arguments, "--folder", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        cwd=REPOSITORY,
    )


def state_of(rest: RestClient, player: Player) -> tuple[int, int]:
    """The player's gems, and the number of pulls."""
    pulls = rest.pulls(player.token).body["pulls"]
    return rest.currency(player.token).body["currencyBalance"], len(pulls)


@pytest.mark.parametrize(
    ("services", "prepared"),
    [(["account_svc"], (True, False)), (["account_svc", "gacha_svc"], (True, True))],
    ids=["prepared on one side", "prepared on both sides"],
)
async def test_an_undecided_transaction_is_listed_and_aborted(
    coordinator: DeadCoordinator,
    sides: Sides,
    rest: RestClient,
    new_player: NewPlayer,
    services: list[str],
    prepared: tuple[bool, bool],
) -> None:
    player = new_player(gems=GEMS)
    gid = coordinator.prepare(player, *services)
    found = await find(sides, gid)
    assert found is not None
    assert (found.prepared, found.coordinator) == (prepared, "test_operate")
    assert (found.state, found.decision) == (State.IN_FLIGHT, None)
    assert 0 <= found.age_seconds < 3

    resolution = await resolve(sides, gid)
    assert (resolution.outcome, resolution.is_complete) == (Outcome.ABORT, True)
    assert await find(sides, gid) is None
    assert state_of(rest, player) == (GEMS, 0)
    # The player is unlocked on both sides.
    assert rest.pull(player.token, "standard").ok


async def test_looking_decides_nothing(
    coordinator: DeadCoordinator, sides: Sides, new_player: NewPlayer
) -> None:
    player = new_player(gems=GEMS)
    gid = coordinator.prepare(player, "account_svc", "gacha_svc")
    assert await find(sides, gid) is not None
    coordinator.decide(gid)
    assert (await resolve(sides, gid)).is_complete


async def test_a_transaction_that_was_decided_is_committed_on_both_sides(
    coordinator: DeadCoordinator, sides: Sides, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player(gems=GEMS)
    gid = coordinator.prepare(player, "account_svc", "gacha_svc")
    assert state_of(rest, player) == (GEMS, 0)
    coordinator.decide(gid)
    found = await find(sides, gid)
    assert found is not None
    assert (found.prepared, found.state) == ((True, False), State.COMMITTING)
    assert found.decision is not None
    assert found.decision.outcome is Outcome.COMMIT
    assert state_of(rest, player) == (GEMS, 1)

    resolution = await resolve(sides, gid)
    assert resolution.outcome is Outcome.COMMIT
    assert [(step.service, step.error) for step in resolution.steps] == [
        ("gacha_svc", None),
        ("account_svc", None),
    ]
    assert state_of(rest, player) == (GEMS - PRICE, 1)
    # A repetition is harmless. Recovery marks it as done, which ends the listing.
    assert await resolve(sides, gid) == resolution
    deadline = time.monotonic() + 15
    while await find(sides, gid) is not None:
        assert time.monotonic() < deadline, "recovery notes what is done"
    assert state_of(rest, player) == (GEMS - PRICE, 1)


async def wait_for(rest: RestClient, player: Player, state: tuple[int, int]) -> None:
    deadline = time.monotonic() + 20
    while state_of(rest, player) != state:
        assert time.monotonic() < deadline, state_of(rest, player)
        await asyncio.sleep(0.1)


def alarms(mesh: Mesh, event: str, gid: str) -> list[str]:
    logs = [mesh.layout.log(each["name"]).read_text() for each in mesh.processes("gacha_svc")]
    lines = [line for log in logs for line in log.splitlines() if event in line and gid in line]
    return [line for line in lines if '"level":"error"' in line]


async def test_a_lost_branch_is_redone_by_recovery(
    coordinator: DeadCoordinator,
    account: AccountDatabase,
    mesh: Mesh,
    rest: RestClient,
    new_player: NewPlayer,
) -> None:
    player = new_player(gems=GEMS)
    gid = coordinator.prepare(player, "account_svc", "gacha_svc")
    coordinator.decide(gid)
    account.lose(gid)
    await wait_for(rest, player, (GEMS - PRICE, 1))
    assert account.debits(player) == ["owed_pull"]
    assert alarms(mesh, "redo_lost_branch", gid)
    assert rest.pulls(player.token).body["pulls"][0]["pullId"] == coordinator.pull_ids[gid]


async def test_gems_that_were_spent_before_the_redo_are_owed(
    coordinator: DeadCoordinator,
    account: AccountDatabase,
    rest: RestClient,
    new_player: NewPlayer,
) -> None:
    player = new_player(gems=GEMS)
    gid = coordinator.prepare(player, "account_svc")
    account.lose(gid)
    # The gems are unlocked, and pay for another pull.
    assert rest.pull(player.token, "standard").ok
    coordinator.prepare(player, "gacha_svc", gid=gid)
    coordinator.decide(gid)
    await wait_for(rest, player, (0, 2))
    assert account.debits(player) == ["pull", "owed_pull"]
    assert rest.currency(player.token).body["debtGems"] == 2 * PRICE - GEMS
    assert rest.pull(player.token, "standard").reason == "WALLET_IN_DEBT"

    # The next purchase pays the debt first.
    assert rest.buy_currency(player.token, GEMS).ok
    await wait_for(rest, player, (2 * GEMS - 2 * PRICE, 2))
    assert rest.currency(player.token).body["debtGems"] == 0


async def test_a_lost_branch_that_cannot_be_redone_waits_for_a_person_and_blocks_no_other(
    coordinator: DeadCoordinator,
    sides: Sides,
    account: AccountDatabase,
    mesh: Mesh,
    rest: RestClient,
    new_player: NewPlayer,
) -> None:
    gone, next_one = new_player(gems=GEMS), new_player(gems=GEMS)
    lost = coordinator.prepare(gone, "account_svc", "gacha_svc")
    coordinator.decide(lost)
    account.lose(lost)
    account.take_wallet(gone)
    behind = coordinator.prepare(next_one, "account_svc", "gacha_svc")
    coordinator.decide(behind)
    await wait_for(rest, next_one, (GEMS - PRICE, 1))

    told = command("resolve", lost, "--yes", folder=mesh.layout.folder)
    assert told.returncode == 1
    assert "gacha_svc: was committed before" in told.stdout
    assert "account_svc: LOST, and cannot be done again: nothing was changed." in told.stdout
    assert f"{coordinator.pull_ids[lost]} USER_NOT_FOUND" in told.stdout
    assert alarms(mesh, "REDO_REFUSED", lost)
    assert await find(sides, lost) is not None

    # A person brings the player back; then recovery or the command ends the transaction.
    account.bring_wallet_back()
    await wait_for(rest, gone, (GEMS - PRICE, 1))
    assert account.debits(gone) == ["owed_pull"]


def test_the_command_lists_and_asks_before_it_settles_a_young_one(
    coordinator: DeadCoordinator, mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    player, folder = new_player(gems=GEMS), mesh.layout.folder
    listed = command("list", folder=folder)
    assert listed.returncode == 0, listed.stderr

    as_json = json.loads(command("list", "--format", "json", folder=folder).stdout)
    assert (as_json["failures"], as_json["is_cut"]) == ({}, False)

    gid = coordinator.prepare(player, "account_svc")
    unasked = command("resolve", gid, folder=folder)
    assert unasked.returncode == 1
    assert "coordinator may still be at work" in unasked.stdout + unasked.stderr

    settled = command("resolve", gid, "--yes", folder=folder)
    again = command("resolve", gid, "--yes", folder=folder)
    third = command("resolve", gid, "--yes", "--format", "json", folder=folder)
    assert settled.returncode == 0, settled.stdout + settled.stderr
    assert "abort" in settled.stdout
    assert again.returncode == 0
    assert "aborted at" in again.stdout
    assert "Nothing was done." in again.stdout
    assert json.loads(third.stdout) == {
        "gid": gid,
        "outcome": "abort",
        "is_complete": True,
        "steps": [],
    }
    assert state_of(rest, player) == (GEMS, 0)


async def test_the_command_forces_nothing_on_a_gid_that_is_unknown(
    mesh: Mesh, sides: Sides
) -> None:
    gid = new_gid("nobody", time.time() - 60)
    asked = command("resolve", gid, folder=mesh.layout.folder)
    assert asked.returncode == 1
    assert f"Nothing is known of {gid}" in asked.stdout
    assert gid not in {each.gid for each in await sides.coordinator.decisions([gid])}


@pytest.mark.parametrize(
    "gids",
    [["no gid"], [new_gid("many", 0.0) for _ in range(2001)]],
    ids=["what is no gid", "too many"],
)
async def test_decisions_are_asked_for_by_gids_and_not_too_many(
    sides: Sides, gids: list[str]
) -> None:
    with pytest.raises(InvalidArgument):
        await sides.coordinator.decisions(gids)


def test_the_command_refuses_an_invalid_gid(mesh: Mesh) -> None:
    refused = command("resolve", "no gid", folder=mesh.layout.folder)
    assert refused.returncode == 2
    assert "it reads <coordinator>:<created_ms>:<random>, such as gacha_svc-1:" in refused.stderr


def test_the_command_says_when_nothing_runs(tmp_path: Path) -> None:
    for arguments in (["list"], ["resolve", new_gid("nobody", time.time())]):
        asked = command(*arguments, folder=tmp_path)
        assert (asked.returncode, asked.stdout) == (3, "")
        assert f"Nothing runs in {tmp_path}: start it with `gachactl up --folder" in asked.stderr


def test_the_command_says_when_no_registry_or_key_is_to_be_had(mesh: Mesh, tmp_path: Path) -> None:
    key_file = str(mesh.layout.admin_key)
    for arguments, status, said in (
        (["--registries", "127.0.0.1:1", "--key-file", key_file], 1, "No registry answered"),
        (["--registries", mesh.registry, "--key-file", f"{tmp_path}/none"], 1, "cannot be used"),
        (["--registries", mesh.registry], 2, "needs --key-file"),
    ):
        asked = command("list", *arguments, folder=tmp_path)
        assert asked.returncode == status
        assert said in asked.stderr
    whole = ["--registries", mesh.registry, "--key-file", key_file]
    assert command("list", *whole, folder=tmp_path).returncode == 0


def test_a_refused_key_is_a_failure_that_names_the_operators_key(
    mesh: Mesh, tmp_path: Path
) -> None:
    key = mesh.layout.service_key("gacha_svc")
    whole = ["--registries", mesh.registry, "--key-file", str(key)]
    refused = command("list", *whole, folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "refused the key: give the operators' key" in refused.stderr
    assert "does not answer" not in refused.stderr
