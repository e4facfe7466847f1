"""Clients that refresh continuously, and often disconnect before the answer."""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from uuid import uuid4

import httpx

from proof.load.pull_load import PullingPlayer, PullLoad

SETTLE_SECONDS = 40.0
PAUSE_SECONDS = 0.05
PAUSE_AFTER_ROTATION_SECONDS = 0.2
"""So that a request which is still on its way is not overtaken by KEPT_ROTATIONS others."""
PATIENCE_SECONDS = (0.005, 0.01, 0.015, 0.02, 0.03, 15.0)
"""Some of them about as long as a refresh takes, so that many answers are lost."""


class Refreshing:
    """Each repeats a refresh with its key until it is answered. For one event loop."""

    def __init__(self, load: PullLoad, players: Sequence[PullingPlayer]) -> None:
        self._load, self._players = load, players
        self._chance = random.Random(load.seed)
        self._is_over = asyncio.Event()
        self.rotation_counts = dict.fromkeys((player.user_id for player in players), 0)
        """What each client has seen, by its player."""

    async def run(self) -> None:
        """Runs until `stop`. Raises AssertionError when a client is refused, and TimeoutError when
        one is not answered within SETTLE_SECONDS."""
        async with asyncio.TaskGroup() as group:
            for player in self._players:
                group.create_task(self._keep_refreshing(player))

    async def all_have_gone_on(self) -> None:
        """Waits until each client has a new token."""
        before = dict(self.rotation_counts)
        while any(self.rotation_counts[user_id] == count for user_id, count in before.items()):
            await asyncio.sleep(PAUSE_SECONDS)

    def stop(self) -> None:
        """Stops after the started requests are answered."""
        self._is_over.set()

    async def _keep_refreshing(self, player: PullingPlayer) -> None:
        token = player.refresh_token
        async with self._load.client() as client:
            while not self._is_over.is_set():
                async with asyncio.timeout(SETTLE_SECONDS):
                    token = await self._successor(client, token)
                self.rotation_counts[player.user_id] += 1
                await asyncio.sleep(PAUSE_AFTER_ROTATION_SECONDS)

    async def _successor(self, client: httpx.AsyncClient, token: str) -> str:
        key = uuid4().hex
        while True:
            answer = await self._impatiently(self._load.refresh(client, token, key))
            if answer is not None and answer.status_code == 200:
                return str(answer.json()["refresh_token"])
            assert answer is None or answer.status_code >= 500, answer.text
            await asyncio.sleep(PAUSE_SECONDS)

    async def _impatiently(self, asked: Awaitable[httpx.Response | None]) -> httpx.Response | None:
        """Refreshes once; returns None without an answer, often because the client disconnects."""
        try:
            async with asyncio.timeout(self._chance.choice(PATIENCE_SECONDS)):
                return await asked
        except TimeoutError:
            return None
