"""The players of a run, inserted into the account database with their sessions.

This saves two password hashes for each of hundreds of players. Everything else goes through
REST, also their access tokens.
"""

import os
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import psycopg2

from account_svc.domain import sessions
from account_svc.domain.accounts import NewPlayer, Registration
from account_svc.domain.refresh_tokens import SECRET_BYTES
from account_svc.storage import accounts as accounts_storage
from account_svc.storage import sessions as sessions_storage
from proof.stack import Mesh

TIMEOUT_SECONDS = 30.0


@dataclass(slots=True, eq=False)
class SeededPlayer:
    """A player with tokens. `is_out_of_gems` is true after a refusal for lack of gems.

    `items` has the ids of items that are known to be owned and are not being given.
    """

    user_id: str
    session_id: str
    refresh_token: str = field(repr=False)
    token: str = field(default="", repr=False)
    rotation_count: int = 0
    is_logged_in: bool = True
    is_out_of_gems: bool = True
    items: list[int] = field(default_factory=list)

    @property
    def username(self) -> str:
        return f"faults-{self.user_id}"

    def take(self, answer: dict[str, Any]) -> None:
        """Stores the tokens of a refresh."""
        self.token, self.refresh_token = answer["token"], answer["refresh_token"]
        self.rotation_count += 1


def make_players(mesh: Mesh, count: int) -> list[SeededPlayer]:
    """Makes that many players, with empty wallets and with tokens that are valid for 15 minutes.
    `proof.load.session_refresher` renews them in longer runs."""
    with (
        closing(psycopg2.connect(mesh.database_url("account"))) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        players = [_insert(cursor) for _ in range(count)]
    with httpx.Client(
        base_url=mesh.gateway, verify=mesh.trust or True, timeout=TIMEOUT_SECONDS, trust_env=False
    ) as client:
        for player in players:
            answer = client.post("/refresh", json={"refresh_token": player.refresh_token})
            answer.raise_for_status()
            player.take(answer.json())
    return players


def _insert(cursor: psycopg2.extensions.cursor) -> SeededPlayer:
    now = datetime.now(UTC)
    salt, secret = os.urandom(SECRET_BYTES), os.urandom(SECRET_BYTES)
    session, token = sessions.begin(str(uuid4()), str(uuid4()), salt, secret, now)
    player = SeededPlayer(session.user_id, session.session_id, token.text)
    new = NewPlayer(player.username, f"{player.username}@example.com")
    request = Registration(str(uuid4()), new.username, new.email)
    accounts_storage.insert_player(cursor, player.user_id, request, new, "no password fits")
    sessions_storage.insert_session(cursor, session)
    return player
