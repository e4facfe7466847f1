"""Logs tell nothing of a player that only the player may know, the database's own included."""

from tests.e2e.clients.rest_client import RestClient
from tests.e2e.players import PASSWORD, NewPlayer, unique_name
from tests.leaks import find_leaks
from tests.stack import Mesh


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
