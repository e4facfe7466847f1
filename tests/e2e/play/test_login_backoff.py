"""Password guessing on a whole mesh: who must wait, who need not, and the answers.

Each player has its own loopback address. The gateway does not trust these as proxies, so each is
like a client on the internet.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import grpc
import httpx
import psycopg2
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from account_svc.domain.login_attempts import Schedules, account_key
from deploy.local.layout import REPOSITORY
from proof.clients.grpc_client import GrpcClient
from proof.players import PASSWORD, NewPlayer, unique_name
from proof.stack import Mesh
from protos.account.v1 import account_pb2
from tests.e2e import harm
from tests.e2e.hostile.refusals import refusal, without_ids
from tests.e2e.scraping import families

HOME, STRANGER, CAFE = "127.0.11.1", "127.0.11.2", "127.0.11.3"
FREE = Schedules().account.free_count
LOGIN = "/account.v1.AccountService/Login"
TIMEOUT_SECONDS = 30
PATIENCE_SECONDS = 60
BUSY = ("OVERLOADED", "HASHING_BUSY")
MINUTE_SECONDS = 60
At = Callable[[str], httpx.Client]


@pytest.fixture
def at(mesh: Mesh) -> Iterator[At]:
    """A client of the gateway that connects from that address."""
    with ExitStack() as stack:

        def client(address: str) -> httpx.Client:
            transport = httpx.HTTPTransport(local_address=address, verify=mesh.trust or True)
            return stack.enter_context(
                httpx.Client(base_url=mesh.gateway, transport=transport, timeout=TIMEOUT_SECONDS)
            )

        yield client


def log_in(client: httpx.Client, username: str, password: str = PASSWORD) -> httpx.Response:
    """Logs in; repeats while the hashing queue is full, so a busy machine does not matter here."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = client.post("/login", json={"username": username, "password": password})
        if answer.status_code != 429 or answer.json()["reason"] not in BUSY:
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.1)


def guess(client: httpx.Client, username: str, count: int = FREE) -> None:
    """Tries that many wrong passwords; none of them has to wait."""
    for number in range(count):
        response = log_in(client, username, f"guess number {number}")
        refusal(response, 401, "UNAUTHENTICATED", "INVALID_CREDENTIALS")


def besiege(mesh: Mesh, client: httpx.Client, username: str) -> None:
    """Fails so often that the next login must wait for minutes. Only the free attempts are made;
    the others are inserted into the database, because making them would take as long."""
    guess(client, username)
    with closing(psycopg2.connect(mesh.database_url("account"))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(
            "UPDATE login_attempt SET failure_count = failure_count + 8, last_failed_at = now()"
            " WHERE account_hash = %s AND failure_count = %s RETURNING 1",
            (account_key(username).account_hash, FREE),
        )
        assert len(cursor.fetchall()) == 1
    assert must_wait(log_in(client, username)) > MINUTE_SECONDS


def must_wait(response: httpx.Response) -> int:
    """The seconds in an answer that refuses a login because of the wait."""
    error = refusal(response, 429, "RESOURCE_EXHAUSTED", "LOGIN_BACKOFF")
    seconds = int(response.headers["retry-after"])
    assert f"try again in {seconds} s" in error["message"]
    return seconds


def _wait_after_a_guess(client: httpx.Client, username: str) -> int:
    """Guesses as soon as it is allowed; returns the wait before the next guess."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    is_guessed = False
    while True:
        answer = log_in(client, username, "a guess")
        if answer.status_code == 429 and is_guessed:
            return must_wait(answer)
        is_guessed = is_guessed or answer.status_code == 401
        assert time.monotonic() < deadline
        time.sleep(0.1 if answer.status_code == 429 else 0.0)


def refused_count(mesh: Mesh) -> float:
    """The number of refusals of all instances and all kinds of subjects."""
    samples = [each for family in families(mesh, "account_svc") for each in family.samples]
    return sum(each.value for each in samples if each.name == "account_login_backoffs_total")


def test_a_guessing_client_waits_and_learns_for_how_long(
    mesh: Mesh, at: At, new_player: NewPlayer
) -> None:
    username, stranger = new_player().username, at(STRANGER)
    opened_before = harm.opened_breakers(mesh)
    guess(stranger, username)
    waits = [_wait_after_a_guess(stranger, username) for _ in range(3)]
    assert waits[0] <= 4
    assert waits == sorted(waits)
    besiege(mesh, stranger, unknown := unique_name())
    refused_before = refused_count(mesh)
    must_wait(log_in(stranger, unknown, "one more guess"))
    must_wait(log_in(stranger, unknown.upper()))
    # Each was sent once: no gateway repeated it at the other instance.
    assert refused_count(mesh) == refused_before + 2
    assert harm.opened_breakers(mesh) == opened_before


def test_an_unknown_name_waits_as_a_known_one_does(
    mesh: Mesh, at: At, new_player: NewPlayer
) -> None:
    told, waits = [], []
    for username in (new_player().username, unique_name()):
        besiege(mesh, at(STRANGER), username)
        answer = log_in(at(STRANGER), username, "one more guess")
        waits.append(must_wait(answer))
        message = answer.json()["message"].replace(f" {waits[-1]} ", " some ")
        told.append({**without_ids(answer.json()), "message": message})
    assert told[0] == told[1]
    assert abs(waits[0] - waits[1]) < PATIENCE_SECONDS


def test_guesses_made_together_over_all_instances_are_as_few(at: At, new_player: NewPlayer) -> None:
    username, stranger, began = new_player().username, at(STRANGER), time.monotonic()
    with ThreadPoolExecutor(32) as guessers:
        answers = list(
            guessers.map(lambda each: log_in(stranger, username, f"guess {each}"), range(64))
        )
    statuses = [answer.status_code for answer in answers]
    # One more for each wait that ended during that time: after 1 s, after 2 s more, and so on.
    over_count = math.floor(math.log2(1 + time.monotonic() - began))
    assert FREE <= statuses.count(401) <= FREE + over_count
    assert set(statuses) == {401, 429}


def test_a_stranger_keeps_no_player_out_at_home(mesh: Mesh, at: At, new_player: NewPlayer) -> None:
    username = new_player().username
    assert log_in(at(HOME), username).status_code == 200
    besiege(mesh, at(STRANGER), username)
    assert log_in(at(HOME), username).status_code == 200
    # From a new address, the player cannot be distinguished from a guesser.
    must_wait(log_in(at(CAFE), username))


def test_a_right_password_after_the_wait_ends_it(at: At, new_player: NewPlayer) -> None:
    username, player = new_player().username, at(STRANGER)
    guess(player, username)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (answer := log_in(player, username)).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.1 * must_wait(answer))
    assert answer.status_code == 200
    guess(player, username)


def test_a_direct_caller_cannot_forge_a_client_address(
    mesh: Mesh, at: At, new_player: NewPlayer, first_instance: GrpcClient
) -> None:
    username = new_player().username
    assert log_in(at(HOME), username).status_code == 200
    channel = first_instance.channel("account.v1.AccountService")
    login: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(LOGIN)
    request = account_pb2.LoginRequest(username=username, password="a guess").SerializeToString()

    def forged(address: str) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            login(request, timeout=TIMEOUT_SECONDS, metadata=(("x-client-address", address),))
        return caught.value

    besiege(mesh, at(STRANGER), username)
    # The player has logged in from 127.0.0.1 too, where this channel connects from. So that
    # pair counts, and forged headers do not.
    reasons = [_reason_of(forged(HOME)) for _ in range(FREE)]
    assert reasons == [("INVALID_CREDENTIALS", 0.0)] * FREE
    assert log_in(at(HOME), username, "a guess").status_code == 401
    assert log_in(at(HOME), username).status_code == 200


def _reason_of(error: grpc.RpcError) -> tuple[str, float]:
    """The reason, and the seconds of the retry hint."""
    status = rpc_status.from_call(error)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(retry)
    return info.reason, retry.retry_delay.ToTimedelta().total_seconds()


def logins(mesh: Mesh, *words: str) -> str:
    """The output of the operators' command."""
    command = [sys.executable, "-m", "deploy.gachactl", "logins", *words]
    command += ["--folder", str(mesh.layout.folder)]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
    )
    return done.stdout


def test_an_operator_lets_an_account_in_again(mesh: Mesh, at: At, new_player: NewPlayer) -> None:
    username = new_player().username
    besiege(mesh, at(STRANGER), username)
    shown = logins(mesh, "show", username.upper())
    assert "account, at new addresses" in shown
    assert f" {FREE + 8} " in shown
    assert "account, at new addresses" in logins(mesh, "summary")
    as_json = json.loads(logins(mesh, "show", username, "--format", "json"))
    assert as_json["username"] == username
    assert FREE + 8 in {each["failure_count"] for each in as_json["failures"]}
    assert "may log in at once" in logins(mesh, "forgive", username)
    assert log_in(at(STRANGER), username).status_code == 200
    assert "had no failures" in logins(mesh, "forgive", username)
    assert "has no failed and no recent logins" in logins(mesh, "show", unique_name())


def test_failed_logins_survive_a_restart_of_the_instances(
    mesh: Mesh, at: At, new_player: NewPlayer
) -> None:
    username, stranger = new_player().username, at(STRANGER)
    besiege(mesh, stranger, username)
    began = time.monotonic()
    for process in mesh.processes("account_svc"):
        mesh.kill_process(process["name"])
    while (answer := log_in(stranger, username)).status_code == 503:
        assert time.monotonic() < began + TIMEOUT_SECONDS
        time.sleep(0.05)
    assert must_wait(answer) > MINUTE_SECONDS


def test_no_log_names_the_player_or_address_of_a_failed_login(mesh: Mesh, at: At) -> None:
    username = unique_name()
    besiege(mesh, at(CAFE), username)
    for log in mesh.layout.logs.iterdir():
        if log.name.startswith("account_svc"):
            text = log.read_text(errors="replace")
            assert username not in text
            assert CAFE not in text
    assert os.listdir(mesh.layout.logs)
