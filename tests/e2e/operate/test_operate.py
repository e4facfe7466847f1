"""An operator lists the transactions of a real mesh, and settles one by the protocol.

Recovery takes a branch when it is three seconds old, so each test must finish before.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from deploy.gachactl.transactions.listing import State, Transaction, look
from deploy.gachactl.transactions.resolution import resolve
from deploy.gachactl.transactions.sides import PULLS, Sides, access_to, connect
from deploy.local.layout import REPOSITORY
from mesh.errors import InvalidArgument
from mesh.postgres.database import Database
from mesh.txn.decisions import DecisionLog
from mesh.txn.model import Outcome, new_gid
from proof.clients.grpc_client import GrpcClient
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from proof.tokens import token_of
from protos.account.v1 import account_pb2
from protos.tx.v1 import participant_pb2

PARTICIPANT = "tx.v1.ParticipantService"
TYPES = "type.googleapis.com"
GEMS, PRICE = 200, 160


@dataclass
class Coordinator:
    """A coordinator that prepares, and then disappears."""

    participants: dict[str, GrpcClient]
    token: Callable[[str], str]
    rest: RestClient
    pull_ids: dict[str, str] = field(default_factory=dict)

    def prepare(self, player: Player, *services: str, gid: str = "") -> str:
        """Prepares one pull at these services, or at further ones, and returns the gid."""
        banner = self.rest.banner("standard").body
        bodies = {
            "account_svc": {
                "@type": f"{TYPES}/account.v1.Debit",
                "userId": player.user_id,
                "amount": PRICE,
            },
            "gacha_svc": {
                "@type": f"{TYPES}/gacha.v1.Draw",
                "userId": player.user_id,
                "bannerId": "standard",
                "count": 1,
                "cost": PRICE,
                "oddsVersion": banner["oddsVersion"],
            },
        }
        gid = gid or new_gid("test_operate", time.time())
        pull_id = self.pull_ids.setdefault(gid, str(uuid4()))
        for service in services:
            self._prepare(service, gid, {"id": pull_id, "body": bodies[service]})
        return gid

    def _prepare(self, service: str, gid: str, operation: dict[str, Any]) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 10))
        request = {"gid": gid, "expiresAt": moment, "operations": [operation]}
        token = self.token(service)
        answer = self.participants[service].call(f"{PARTICIPANT}/Prepare", request, token)
        assert answer.ok, answer
        (vote,) = answer.body["votes"]
        assert "result" in vote, vote


@pytest.fixture(scope="module")
def coordinator(mesh: Mesh, rest: RestClient) -> Iterator[Coordinator]:
    account, gacha = (
        GrpcClient({PARTICIPANT: mesh.processes(role)[0]["address"]}, mesh.operator_files)
        for role in ("account_svc", "gacha_svc")
    )
    with closing(account), closing(gacha):
        token = partial(token_of, mesh, "gacha_svc")
        yield Coordinator({"account_svc": account, "gacha_svc": gacha}, token, rest)


@pytest.fixture
async def sides(mesh: Mesh) -> AsyncIterator[Sides]:
    async with connect(access_to(mesh.layout), PULLS) as sides:
        yield sides


@pytest.fixture
async def decisions(mesh: Mesh) -> AsyncIterator[DecisionLog]:
    """The decision log itself, because only a coordinator in the service can decide commit."""
    database = Database(mesh.database_url("gacha"), connection_count=1)
    yield DecisionLog(database)
    database.close()


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
    coordinator: Coordinator,
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
    coordinator: Coordinator, sides: Sides, decisions: DecisionLog, new_player: NewPlayer
) -> None:
    gid = coordinator.prepare(new_player(gems=GEMS), "account_svc", "gacha_svc")
    assert await find(sides, gid) is not None
    assert await decisions.decide(gid, Outcome.COMMIT) is Outcome.COMMIT
    assert (await resolve(sides, gid)).is_complete


async def test_a_transaction_that_was_decided_is_committed_on_both_sides_in_order(
    coordinator: Coordinator,
    sides: Sides,
    decisions: DecisionLog,
    rest: RestClient,
    new_player: NewPlayer,
) -> None:
    player = new_player(gems=GEMS)
    gid = coordinator.prepare(player, "account_svc", "gacha_svc")
    await decisions.decide(gid, Outcome.COMMIT)
    found = await find(sides, gid)
    assert found is not None
    assert (found.prepared, found.state) == ((True, True), State.COMMITTING)
    assert found.decision is not None
    assert found.decision.outcome is Outcome.COMMIT
    assert state_of(rest, player) == (GEMS, 0)

    resolution = await resolve(sides, gid)
    assert resolution.outcome is Outcome.COMMIT
    assert [(step.service, step.error) for step in resolution.steps] == [
        ("account_svc", None),
        ("gacha_svc", None),
    ]
    assert state_of(rest, player) == (GEMS - PRICE, 1)
    # A repetition is harmless. Recovery marks it as done, which ends the listing.
    assert await resolve(sides, gid) == resolution
    deadline = time.monotonic() + 15
    while await find(sides, gid) is not None:
        assert time.monotonic() < deadline, "recovery notes what is done"
    assert state_of(rest, player) == (GEMS - PRICE, 1)


@dataclass
class Account:
    """The account's database, for manual changes outside the protocol."""

    cursor: Any

    def lose(self, gid: str) -> None:
        """Removes the branch, like a failover to a standby that lacks it."""
        self.cursor.execute("ROLLBACK PREPARED %s", (f"account/{gid}",))

    def debits(self, player: Player) -> int:
        self.cursor.execute(
            "SELECT count(*) FROM ledger WHERE user_id = %s AND kind = 'pull'", (player.user_id,)
        )
        return int(self.cursor.fetchone()[0])


@pytest.fixture
def account(mesh: Mesh) -> Iterator[Account]:
    connection = psycopg2.connect(mesh.database_url("account"))
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        yield Account(cursor)


def kept(coordinator: Coordinator, player: Player, gid: str) -> bytes:
    """The debit of a prepared pull, as the decision stores it."""
    operation = participant_pb2.Operation(id=coordinator.pull_ids[gid])
    operation.body.Pack(account_pb2.Debit(user_id=player.user_id, amount=PRICE))
    return participant_pb2.Operations(operations=[operation]).SerializeToString()


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
    coordinator: Coordinator,
    decisions: DecisionLog,
    account: Account,
    mesh: Mesh,
    rest: RestClient,
    new_player: NewPlayer,
) -> None:
    player = new_player(gems=GEMS)
    gid = coordinator.prepare(player, "account_svc", "gacha_svc")
    await decisions.decide(gid, Outcome.COMMIT, kept(coordinator, player, gid))
    account.lose(gid)
    await wait_for(rest, player, (GEMS - PRICE, 1))
    assert account.debits(player) == 1
    assert alarms(mesh, "redo_lost_branch", gid)
    assert rest.pulls(player.token).body["pulls"][0]["pullId"] == coordinator.pull_ids[gid]


async def test_a_lost_branch_that_cannot_be_redone_waits_for_a_person_and_blocks_no_other(
    coordinator: Coordinator,
    sides: Sides,
    decisions: DecisionLog,
    account: Account,
    mesh: Mesh,
    rest: RestClient,
    new_player: NewPlayer,
) -> None:
    broke, next_one = new_player(gems=GEMS), new_player(gems=GEMS)
    lost = coordinator.prepare(broke, "account_svc")
    account.lose(lost)
    # The gems are unlocked, and pay for another pull.
    assert rest.pull(broke.token, "standard").ok
    coordinator.prepare(broke, "gacha_svc", gid=lost)
    await decisions.decide(lost, Outcome.COMMIT, kept(coordinator, broke, lost))
    behind = coordinator.prepare(next_one, "account_svc", "gacha_svc")
    await decisions.decide(behind, Outcome.COMMIT, kept(coordinator, next_one, behind))
    await wait_for(rest, next_one, (GEMS - PRICE, 1))

    told = command("resolve", lost, "--yes", folder=mesh.layout.folder)
    assert told.returncode == 1
    assert "account_svc: LOST, and cannot be done again: nothing was changed." in told.stdout
    assert f"{coordinator.pull_ids[lost]} INSUFFICIENT_CURRENCY" in told.stdout
    assert "gacha_svc" not in told.stdout
    assert alarms(mesh, "REDO_REFUSED", lost)
    assert await find(sides, lost) is not None
    assert state_of(rest, broke) == (GEMS - PRICE, 1)

    # A person grants the gems; then recovery or the command completes the pull.
    assert rest.buy_currency(broke.token, PRICE).ok
    await wait_for(rest, broke, (GEMS - PRICE, 2))
    assert account.debits(broke) == 2


def test_the_command_lists_and_asks_before_it_settles_a_young_one(
    coordinator: Coordinator, mesh: Mesh, rest: RestClient, new_player: NewPlayer
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
    mesh: Mesh, decisions: DecisionLog
) -> None:
    gid = new_gid("nobody", time.time() - 60)
    asked = command("resolve", gid, folder=mesh.layout.folder)
    assert asked.returncode == 1
    assert f"Nothing is known of {gid}" in asked.stdout
    assert gid not in {each.gid for each in await decisions.list_decisions([gid])}


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
