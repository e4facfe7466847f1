"""An access token ends with its session, at every instance of every service."""

import time
from collections.abc import Callable

import pytest

from proof.clients.answers import Answer
from proof.clients.client import Client
from proof.clients.rest_client import RestClient
from proof.players import PASSWORD, NewPlayer

SOON_SECONDS = 5.0
"""Twice what the verifiers need, because the machine may be busy."""

End = Callable[[RestClient, dict[str, str]], Answer]
ENDS: dict[str, End] = {
    "logout": lambda rest, tokens: rest.logout(tokens["refresh_token"]),
    "logout everywhere": lambda rest, tokens: rest.logout_everywhere(tokens["token"]),
    "a new password": lambda rest, tokens: rest.change_password(
        tokens["token"], PASSWORD, "another good password"
    ),
}


def reasons(token: str, *clients: Client) -> set[str]:
    """What account_svc and gacha_svc say to the token; empty for an answer."""
    return {
        answer.reason
        for client in clients
        for answer in (client.currency(token), client.inventory(token))
    }


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_token_of_an_ended_session_is_refused_everywhere_within_seconds(
    rest: RestClient,
    first_instance: Client,
    second_instance: Client,
    new_player: NewPlayer,
    end: End,
) -> None:
    player = new_player()
    tokens = rest.login(player.username, PASSWORD).body
    everywhere = (rest, first_instance, second_instance)
    assert reasons(tokens["token"], *everywhere) == {""}
    answer = end(rest, tokens)
    assert answer.ok, answer
    deadline = time.monotonic() + SOON_SECONDS
    while reasons(tokens["token"], *everywhere) != {"SESSION_ENDED"}:
        assert time.monotonic() < deadline, reasons(tokens["token"], *everywhere)
        time.sleep(0.1)
    # It stays refused, by whichever instance the gateway calls.
    for _ in range(5):
        assert reasons(tokens["token"], *everywhere) == {"SESSION_ENDED"}
    assert rest.logout_everywhere(tokens["token"]).reason == "SESSION_ENDED"
    renewed = answer.body.get("token") or rest.login(player.username, PASSWORD).body["token"]
    assert reasons(renewed, *everywhere) == {""}


def test_another_session_of_the_player_goes_on(
    rest: RestClient, first_instance: Client, second_instance: Client, new_player: NewPlayer
) -> None:
    player = new_player()
    ended, other = (rest.login(player.username, PASSWORD).body for _ in range(2))
    assert rest.logout(ended["refresh_token"]).ok
    everywhere = (rest, first_instance, second_instance)
    deadline = time.monotonic() + SOON_SECONDS
    while reasons(ended["token"], *everywhere) != {"SESSION_ENDED"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert reasons(other["token"], *everywhere) == {""}


def test_a_change_of_the_password_is_repeated_after_its_session_has_ended(
    rest: RestClient, first_instance: Client, second_instance: Client, new_player: NewPlayer
) -> None:
    """The response was lost, and the client repeats with the key and the token that it has."""
    player, new = new_player(), "another good password"
    assert rest.change_password(player.token, PASSWORD, new, key="mine").ok
    everywhere = (rest, first_instance, second_instance)
    deadline = time.monotonic() + SOON_SECONDS
    while reasons(player.token, *everywhere) != {"SESSION_ENDED"}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    repeat = rest.change_password(player.token, PASSWORD, new, key="mine")
    assert repeat.ok, repeat
    assert reasons(repeat.body["token"], *everywhere) == {""}
    wrong = rest.change_password(player.token, PASSWORD, new, key="another")
    assert wrong.reason == "WRONG_PASSWORD"
