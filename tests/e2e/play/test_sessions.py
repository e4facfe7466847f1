"""Sessions of players, with every client, and while account_svc is killed."""

import asyncio

import pytest

from proof.clients.client import Client
from proof.clients.rest_client import RestClient
from proof.invariants import query
from proof.load.pull_load import PullLoad
from proof.players import PASSWORD, NewPlayer
from proof.stack import Mesh
from tests.e2e.hostile.refusals import refusal
from tests.e2e.play.refreshing import Refreshing

OTHER_PASSWORD = "correct horse battery, another one"
UNAUTHENTICATED = "UNAUTHENTICATED"
UNKNOWN = "gmr_AAECAwQFBgcICQoLDA0ODwAAAAAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw"
KILLS, CLIENTS, AT_ONCE = 4, 8, 32
SECONDS_BETWEEN_KILLS = 1.0


def logged_in(client: Client, username: str, password: str = PASSWORD) -> str:
    """The first refresh token of a new session."""
    answer = client.login(username, password)
    assert answer.ok, answer
    return str(answer.body["refresh_token"])


def refreshed(client: Client, refresh_token: str, key: str = "") -> str:
    answer = client.refresh(refresh_token, key=key)
    assert answer.ok, answer
    return str(answer.body["refresh_token"])


def test_refreshing_gives_the_next_tokens(client: Client, new_player: NewPlayer) -> None:
    player = new_player()
    answer = client.refresh(logged_in(client, player.username))
    assert set(answer.body) == {"token", "refresh_token", "expires_in"}
    assert answer.body["expires_in"] == 900
    assert client.currency(answer.body["token"]).body["userId"] == player.user_id
    assert refreshed(client, answer.body["refresh_token"]) != answer.body["refresh_token"]


def test_a_repeat_gives_the_same_refresh_token(client: Client, new_player: NewPlayer) -> None:
    token = logged_in(client, new_player().username)
    first = refreshed(client, token, key="mine")
    assert refreshed(client, token, key="mine") == first
    assert refreshed(client, token, key="another") == first


def test_both_instances_rotate_one_session(
    first_instance: Client, second_instance: Client, new_player: NewPlayer
) -> None:
    token = logged_in(first_instance, new_player().username)
    second = refreshed(second_instance, token)
    assert refreshed(first_instance, token) == second
    assert refreshed(first_instance, second) == refreshed(second_instance, second)


async def test_refreshes_at_once_with_one_token_are_given_one_successor(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    token = logged_in(rest, new_player().username)
    load = PullLoad(mesh.gateway, trust=mesh.trust, seed=2)
    async with load.client() as client:
        answers = await asyncio.gather(
            *(load.refresh(client, token, f"key-{number}") for number in range(AT_ONCE))
        )
    given = [answer.json()["refresh_token"] for answer in answers if answer is not None]
    assert len(given) == AT_ONCE
    assert len(set(given)) == 1
    assert rest.refresh(given[0]).ok


def test_a_token_used_twice_ends_its_session_and_no_other(
    client: Client, new_player: NewPlayer
) -> None:
    username = new_player().username
    stolen, other = logged_in(client, username), logged_in(client, username)
    newest = refreshed(client, refreshed(client, stolen))
    reused = client.refresh(stolen)
    assert (reused.code, reused.reason) == (UNAUTHENTICATED, "REFRESH_TOKEN_REUSED")
    ended = client.refresh(newest)
    assert (ended.code, ended.reason) == (UNAUTHENTICATED, "SESSION_ENDED")
    assert client.refresh(other).ok


def test_invalid_refresh_tokens_all_get_the_same_answer(
    client: Client, new_player: NewPlayer
) -> None:
    player = new_player()
    genuine = logged_in(client, player.username)
    forged = f"{genuine[:-2]}{'BA' if genuine[-2:] != 'BA' else 'CA'}"
    told = set()
    for text in (UNKNOWN, forged, "x", "gmr_", player.token, genuine[:-1], f"{genuine}A"):
        answer = client.refresh(text)
        told.add((answer.code, answer.reason, answer.message))
    assert [each[:2] for each in told] == [(UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")]
    assert client.refresh(genuine).ok


def test_logging_out_ends_one_session(client: Client, new_player: NewPlayer) -> None:
    username = new_player().username
    here, there = logged_in(client, username), logged_in(client, username)
    for _ in range(2):
        assert client.logout(here).body == {"message": "Logged out"}
    assert client.refresh(here).reason == "SESSION_ENDED"
    assert client.refresh(there).ok
    assert client.logout(UNKNOWN).ok


def test_logging_out_everywhere_ends_every_session(client: Client, new_player: NewPlayer) -> None:
    player = new_player()
    tokens = [logged_in(client, player.username) for _ in range(2)]
    answer = client.logout_everywhere(player.token)
    assert answer.body == {"message": "Logged out everywhere"}
    for token in tokens:
        assert client.refresh(token).reason == "SESSION_ENDED"
    repeat = client.logout_everywhere(player.token)
    assert repeat.ok or repeat.reason == "SESSION_ENDED"


def test_changing_the_password_leaves_one_session(client: Client, new_player: NewPlayer) -> None:
    player = new_player()
    before = logged_in(client, player.username)
    answer = client.change_password(player.token, PASSWORD, OTHER_PASSWORD, key="mine")
    assert answer.ok, answer
    assert set(answer.body) == {"message", "token", "refresh_token", "expires_in"}
    assert answer.body["message"] == "Password changed"
    assert client.refresh(before).reason == "SESSION_ENDED"
    assert client.login(player.username, PASSWORD).reason == "INVALID_CREDENTIALS"
    assert client.currency(answer.body["token"]).ok
    repeat = client.change_password(player.token, PASSWORD, OTHER_PASSWORD, key="mine")
    assert repeat.ok, repeat
    reused = client.change_password(player.token, PASSWORD, f"{PASSWORD}?", key="mine")
    assert reused.reason == "IDEMPOTENCY_KEY_REUSED"
    assert client.refresh(answer.body["refresh_token"]).ok
    assert client.refresh(logged_in(client, player.username, OTHER_PASSWORD)).ok


def test_a_wrong_current_password_is_no_401(
    client: Client, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    answer = client.change_password(player.token, "a wrong password", OTHER_PASSWORD)
    assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "WRONG_PASSWORD")
    assert answer.fields == ("current_password",)
    assert client.login(player.username, PASSWORD).ok
    body = {"current_password": "a wrong password", "new_password": OTHER_PASSWORD}
    headers = {"authorization": f"Bearer {player.token}"}
    response = rest.http.post("/password", json=body, headers=headers)
    refusal(response, 403, "PERMISSION_DENIED", "WRONG_PASSWORD")


def test_rest_answers_401_to_a_bad_refresh_token(rest: RestClient) -> None:
    response = rest.http.post("/refresh", json={"refresh_token": UNKNOWN})
    refusal(response, 401, UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.timeout(180)
async def test_clients_that_repeat_with_their_key_outlive_every_kill(mesh: Mesh) -> None:
    """A lost reply never leads to a logout or to a suspicion of theft."""
    load = PullLoad(mesh.gateway, trust=mesh.trust, seed=1)
    async with load.client() as client:
        clients = Refreshing(load, [await load.player(client, 1) for _ in range(CLIENTS)])
    async with asyncio.TaskGroup() as group:
        group.create_task(clients.run())
        for kill in range(KILLS):
            await asyncio.sleep(SECONDS_BETWEEN_KILLS)
            await asyncio.to_thread(mesh.kill_process, f"account_svc-{1 + kill % 2}")
        await clients.all_have_gone_on()
        clients.stop()
    statement = "SELECT user_id::text, generation, ended_at IS NULL FROM player_session"
    stored = {
        str(user_id): (generation, lives)
        for user_id, generation, lives in query(mesh, "account", statement)
        if user_id in clients.rotation_counts
    }
    seen = {user_id: (count, True) for user_id, count in clients.rotation_counts.items()}
    assert stored == seen
