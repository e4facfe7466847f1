"""Keeps players logged in while faults are injected, and checks their sessions.

Each session is refreshed continuously in the background. A refresh is repeated with its key
until it is answered, and many callers disconnect before the answer, so many answers are lost.
Still, no player may be logged out or treated as a thief, and the stored session must be the one
that its client has seen.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import closing
from uuid import uuid4

import orjson

from proof.invariants import query
from proof.load.http1 import Answer
from proof.load.rest_connection import RestConnection
from proof.load.seeded_players import SeededPlayer
from proof.stack import Mesh

LINE = "POST /refresh"
OK = 200
LATER = (409, 429, 499)
PAUSE_SECONDS = 0.05
SHORT_DEADLINE_SHARE, SHORT_DEADLINES_SECONDS = 0.3, (0.005, 0.01, 0.02, 0.05)
"""The share of callers that disconnect before the answer, and after how long they do."""
STORED = "SELECT session_id::text, generation, ending FROM player_session"


class SessionRefresher:
    """Refreshes the sessions of all players of a run. Use it in one event loop."""

    def __init__(
        self, mesh: Mesh, players: Sequence[SeededPlayer], seed: int, find: Callable[[str], None]
    ) -> None:
        """`find` is called with each wrong refusal."""
        self._mesh, self._players, self._find = mesh, players, find
        self._chance = random.Random(f"{seed}/sessions")

    async def keep_refreshing(self) -> None:
        """Refreshes one player after the other until cancelled, far more often than necessary."""
        with closing(RestConnection(self._mesh.gateway, self._mesh.trust)) as rest:
            while True:
                for player in self._players:
                    if player.is_logged_in:
                        await self._refresh(rest, player)
                    await asyncio.sleep(PAUSE_SECONDS)

    def wrong(self) -> list[str]:
        """The sessions that differ from what their clients saw. Reads the database."""
        before = {player.session_id: player.rotation_count for player in self._players}
        stored = {
            str(session_id): rest for session_id, *rest in query(self._mesh, "account", STORED)
        }
        return [
            f"{player.username} has seen {before[player.session_id]} rotations,"
            f" stored is {stored.get(player.session_id)}"
            for player in self._players
            if not _is_as_seen(
                stored.get(player.session_id), before[player.session_id], player.rotation_count
            )
        ]

    async def _refresh(self, rest: RestConnection, player: SeededPlayer) -> None:
        key = uuid4().hex
        body = orjson.dumps({"refresh_token": player.refresh_token})
        while True:
            answer = await self._send(rest, player, key, body)
            if answer is not None and answer.status == OK:
                player.take(orjson.loads(answer.body))
                return
            if answer is not None and answer.status < 500 and answer.status not in LATER:
                player.is_logged_in = False
                self._find(f"{player.username} is refused: {answer.body!r}")
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send(
        self, rest: RestConnection, player: SeededPlayer, key: str, body: bytes
    ) -> Answer | None:
        if self._chance.random() >= SHORT_DEADLINE_SHARE:
            return await rest.send(LINE, player.token, key, body)
        return await rest.send(
            LINE,
            player.token,
            key,
            body,
            patience_seconds=self._chance.choice(SHORT_DEADLINES_SECONDS),
        )


def _is_as_seen(stored: Sequence[object] | None, before_count: int, after_count: int) -> bool:
    """Whether the session is valid, and at most one rotation ahead of what its client saw."""
    if stored is None:
        return False
    generation, ending = stored
    assert isinstance(generation, int), "the column is an integer"
    return ending is None and before_count <= generation <= after_count + 1
