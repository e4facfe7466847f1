"""The players of a run, put into the account database with tokens at hand.

Registering takes two password hashes each, which hundreds of players need not wait for;
everything that moves gems goes through REST.
"""

from contextlib import closing
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg2

from account_svc.domain.accounts import NewPlayer
from account_svc.storage import accounts as storage
from mesh.auth import PLAYER_AUDIENCE, TokenSigner
from tests.stack import Mesh

TOKEN_SECONDS = 24 * 3600


@dataclass(slots=True, eq=False)
class Player:
    """Somebody with a token; `is_broke` after something was refused for lack of gems.

    `items` are the numbers of those that the harness knows are owned and not being given.
    """

    user_id: str
    token: str
    is_broke: bool = True
    items: list[int] = field(default_factory=list)

    @property
    def username(self) -> str:
        return f"faults-{self.user_id}"


def make_players(mesh: Mesh, count: int) -> list[Player]:
    """That many, with empty wallets."""
    signer = TokenSigner(mesh.player_key(), PLAYER_AUDIENCE, TOKEN_SECONDS)
    user_ids = [str(uuid4()) for _ in range(count)]
    players = [Player(user_id, signer.sign(user_id)) for user_id in user_ids]
    with (
        closing(psycopg2.connect(mesh.database_url("account"))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        for player in players:
            new = NewPlayer(player.username, f"{player.username}@example.com")
            storage.insert_player(cursor, player.user_id, str(uuid4()), new, "no password fits")
    return players
