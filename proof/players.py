"""New players for each test, so that tests can share a mesh and run in any order."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

from proof.clients.client import Client

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Player:
    """A registered player who is logged in."""

    username: str
    user_id: str
    token: str


NewPlayer = Callable[..., Player]
"""`new_player(gems=0)`: a newly registered player who has bought that many gems."""


def unique_name(prefix: str = "player") -> str:
    """A unique username."""
    return f"{prefix}-{uuid4().hex[:20]}"


def register(client: Client, gems: int = 0) -> Player:
    """Registers a new player with that many gems."""
    name = unique_name()
    registered = client.register(name, PASSWORD, f"{name}@example.com")
    assert registered.ok, registered
    logged_in = client.login(name, PASSWORD)
    assert logged_in.ok, logged_in
    player = Player(name, registered.body["userId"], logged_in.body["token"])
    if gems:
        assert client.buy_currency(player.token, gems).ok
    return player
