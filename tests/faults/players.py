"""The players of a run, put into the account database with tokens at hand.

Registering takes two password hashes each, which hundreds of players need not wait for;
everything that moves gems goes through REST.
"""

from contextlib import closing
from dataclasses import dataclass
from uuid import uuid4

import psycopg2

from account_svc.domain.accounts import NewPlayer
from account_svc.storage import accounts as storage
from mesh.auth import PLAYER_AUDIENCE, TokenSigner
from mesh.config import read_private_key
from tests.stack import Mesh

TOKEN_SECONDS = 24 * 3600


@dataclass(slots=True, eq=False)
class Player:
    """Somebody with a token; `is_broke` after a pull was refused for lack of gems."""

    user_id: str
    token: str
    is_broke: bool = True


def make_players(mesh: Mesh, count: int) -> list[Player]:
    """That many, with empty wallets."""
    key_file = mesh.layout.secrets / "account_signing_key.pem"
    signer = TokenSigner(
        read_private_key("the account's signing key", key_file), PLAYER_AUDIENCE, TOKEN_SECONDS
    )
    players = [str(uuid4()) for _ in range(count)]
    with (
        closing(psycopg2.connect(mesh.database_url("account"))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        for user_id in players:
            name = f"faults-{user_id}"
            new = NewPlayer(name, f"{name}@example.com")
            storage.insert_player(cursor, user_id, str(uuid4()), new, "no password fits")
    return [Player(user_id, signer.sign(user_id)) for user_id in players]
