"""No log contains a player's secrets, including the logs of the databases."""

from proof.clients.rest_client import RestClient
from proof.leaks import find_leaks
from proof.players import PASSWORD, NewPlayer, unique_name
from proof.stack import Mesh


def test_a_registration_that_the_database_refuses_leaves_no_secret_in_a_log(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    name = unique_name()
    taken = rest.register(player.username, PASSWORD, f"{name}@example.com")
    assert taken.reason == "USERNAME_TAKEN"
    taken = rest.register(name, PASSWORD, f"{player.username}@example.com")
    assert taken.reason == "EMAIL_TAKEN"
    assert rest.login(player.username, "a wrong password").reason == "INVALID_CREDENTIALS"
    assert find_leaks(mesh.layout.logs) == []


def test_refused_refreshes_and_changes_of_a_password_leave_no_secret_in_a_log(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    first = rest.login(player.username, PASSWORD).body["refresh_token"]
    second = rest.refresh(first).body["refresh_token"]
    rest.refresh(second)
    told = [rest.refresh(token).reason for token in (first, second, f"{first[:-1]}A")]
    assert told[:2] == ["REFRESH_TOKEN_REUSED", "SESSION_ENDED"]
    wrong = rest.change_password(player.token, "a wrong password", PASSWORD)
    assert wrong.reason == "WRONG_PASSWORD"
    assert rest.change_password(player.token, PASSWORD, f"{PASSWORD}, another").ok
    assert find_leaks(mesh.layout.logs) == []
