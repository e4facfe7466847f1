"""Purchases of one player: many at once, each key several times, and one after the other.

An answer that says pending is no final one; its key is sent again at once.
"""

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from uuid import uuid4

import orjson

from proof.load.rest_connection import RestConnection

LINE = "POST /buy-currency"
OK = 200
PATIENCE_SECONDS = 60.0
"""Until a purchase without a final answer counts as failed."""
PAUSE_SECONDS = 0.02


class NoFinalAnswer(Exception):
    """A purchase was refused, or had no final answer in time; the message has the last answer."""


@dataclass(slots=True)
class Burst:
    """The final answers by key, and how many answers said pending before."""

    answers: dict[str, list[bytes]] = field(default_factory=dict)
    pending_count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Buyer:
    """A player's access to the shop. `trust` verifies the gateway."""

    gateway: str
    trust: ssl.SSLContext | None
    token: str

    async def burst(self, *, key_count: int, copies: int, at_once: int) -> Burst:
        """Buys one gem for each key, sends each key `copies` times in a row, and has up to
        `at_once` requests under way. Raises NoFinalAnswer."""
        result, name = Burst(), uuid4().hex
        keys = iter([f"{name}-{n}" for n in range(key_count) for _ in range(copies)])
        began_at = time.perf_counter()
        async with asyncio.TaskGroup() as senders:
            for _ in range(at_once):
                senders.create_task(self._send_all(keys, result))
        result.seconds = time.perf_counter() - began_at
        return result

    async def buy_for(self, seconds: float) -> Sequence[float]:
        """Buys without a pause for that time. Returns how many seconds each purchase took until
        its final answer. Raises NoFinalAnswer."""
        result, durations_seconds = Burst(), list[float]()
        until = time.perf_counter() + seconds
        with closing(RestConnection(self.gateway, self.trust)) as rest:
            while (began_at := time.perf_counter()) < until:
                await self._buy(rest, uuid4().hex, result)
                durations_seconds.append(time.perf_counter() - began_at)
        return durations_seconds

    async def _send_all(self, keys: Iterator[str], result: Burst) -> None:
        with closing(RestConnection(self.gateway, self.trust)) as rest:
            for key in keys:
                await self._buy(rest, key, result)

    async def _buy(self, rest: RestConnection, key: str, result: Burst) -> None:
        body = b'{"amount":1,"paymentMethod":"credit_card"}'
        until = time.perf_counter() + PATIENCE_SECONDS
        while True:
            answer = await rest.send(LINE, self.token, key, body)
            if answer is not None and answer.status == OK:
                if "newBalance" in orjson.loads(answer.body):
                    result.answers.setdefault(key, []).append(answer.body)
                    return
                result.pending_count += 1
            elif answer is not None and 400 <= answer.status < 500:
                raise NoFinalAnswer(f"{answer.status} {answer.body!r}")
            if time.perf_counter() > until:
                raise NoFinalAnswer(f"after {PATIENCE_SECONDS:g} s: {answer}")
            await asyncio.sleep(PAUSE_SECONDS)
