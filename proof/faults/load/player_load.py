"""Players who continuously pull, buy and give, some far more than others.

As the documentation says, a try with an unknown outcome is sent again with the same key until
the outcome is known. Some callers disconnect during a request, some set very short deadlines,
and some repeat requests that were answered long ago.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from contextlib import closing

import orjson

from proof.faults.findings import Check, Findings
from proof.faults.history import History, Kind, Operation, Outcome
from proof.faults.load.workload import Workload
from proof.load.http1 import Answer
from proof.load.rest_connection import RestConnection
from proof.load.seeded_players import SeededPlayer
from proof.stack import Mesh

OK, INTERNAL = 200, 500
LATER = (409, 429, 499)
"""The statuses below 500 after which the same request is sent again."""
MOST_FAILURES = 8
"""After so many answers 500, a repeated request counts as failed."""
PENDING = "pending"
INSUFFICIENT_CURRENCY = "INSUFFICIENT_CURRENCY"
WALLET_IN_DEBT = "WALLET_IN_DEBT"
REFUSALS = {
    Kind.PULL: (INSUFFICIENT_CURRENCY, WALLET_IN_DEBT, "BANNER_PULL_LIMIT"),
    Kind.PURCHASE: ("PAYMENT_DECLINED",),
    Kind.GIFT: (INSUFFICIENT_CURRENCY, WALLET_IN_DEBT, "ITEM_NOT_OWNED"),
}
"""The valid reasons to refuse each kind. An item may already be given away by a request whose
outcome its player does not know."""
LINES = {
    Kind.PULL: "POST /gacha/pull/{banner_id}",
    Kind.PURCHASE: "POST /buy-currency",
    Kind.GIFT: "POST /gifts",
}
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
THINK_SECONDS = 0.05
TURNS_OF_CLOSING = 3
SHORT_DEADLINES_SECONDS = (0.02, 0.1, 0.4)
REPEAT_SHARE, ABANDONED_SHARE, SHORT_DEADLINE_SHARE = 0.05, 0.02, 0.05
"""The probability of each for an operation."""


class PlayerLoad:
    """Runs over several connections; can be paused while the data is checked."""

    def __init__(
        self,
        mesh: Mesh,
        players: Sequence[SeededPlayer],
        history: History,
        findings: Findings,
        seed: int,
        *,
        settle_seconds: float,
    ) -> None:
        """A player without an outcome after `settle_seconds` gives up, which is a finding."""
        self._settle_seconds = settle_seconds
        self._mesh, self._workload = mesh, Workload(players)
        self._history, self._findings, self._seed = history, findings, seed
        self._players = {player.user_id: player for player in players}
        self._open = asyncio.Event()
        self._busy_count = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, connection_count: int) -> None:
        """Starts the load."""
        self._open.set()
        self._tasks = [
            asyncio.create_task(self._keep_sending(number)) for number in range(connection_count)
        ]

    def hold(self) -> None:
        """Settles the started operations, and starts no others until `go_on`."""
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    @property
    def is_idle(self) -> bool:
        """Whether all started operations are settled. Raises what a player raised."""
        for task in self._tasks:
            if task.done():
                task.result()
        return self._busy_count == 0

    async def stop(self) -> None:
        """Stops at once; operations in progress are cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # An aborted connection closes its socket in the next iterations of the event loop.
        for _ in range(TURNS_OF_CLOSING):
            await asyncio.sleep(0)

    async def repeat(self, operations: Sequence[Operation], connection_count: int) -> None:
        """Repeats earlier requests, and reports every answer that differs from the first."""
        waiting = iter(operations)

        async def repeat_in_turn() -> None:
            with closing(RestConnection(self._mesh.gateway, self._mesh.trust)) as rest:
                for each in waiting:
                    if self._findings.is_enough(Check.REPEATS):
                        break
                    await self._repeat(rest, each)

        await asyncio.gather(*(repeat_in_turn() for _ in range(connection_count)))

    async def _keep_sending(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        with closing(RestConnection(self._mesh.gateway, self._mesh.trust)) as rest:
            while True:
                await self._open.wait()
                self._busy_count += 1
                try:
                    await self._send_one(rest, chance)
                finally:
                    self._busy_count -= 1
                await asyncio.sleep(chance.random() * 2 * THINK_SECONDS)

    async def _send_one(self, rest: RestConnection, chance: random.Random) -> None:
        if self._history.done and chance.random() < REPEAT_SHARE:
            await self._repeat(rest, chance.choice(self._history.done))
            return
        operation = self._workload.next(chance)
        self._history.begin(operation)
        await self._settle(rest, operation, chance)

    async def _settle(
        self, rest: RestConnection, operation: Operation, chance: random.Random
    ) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        try:
            async with asyncio.timeout(self._settle_seconds):
                while operation.outcome is Outcome.UNKNOWN:
                    deadline_seconds = (
                        chance.choice(SHORT_DEADLINES_SECONDS)
                        if chance.random() < SHORT_DEADLINE_SHARE
                        else 0.0
                    )
                    self._take(operation, await self._send(rest, operation, deadline_seconds))
                    is_settled = operation.outcome is not Outcome.UNKNOWN
                    if is_settled or chance.random() < ABANDONED_SHARE:
                        return
                    await asyncio.sleep(pause_seconds)
                    pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        except TimeoutError:
            self._findings.add(
                Check.SETTLED,
                f"{operation.kind} {operation.key} is unknown after {self._settle_seconds:g} s",
            )

    async def _send(
        self, rest: RestConnection, operation: Operation, deadline_seconds: float = 0.0
    ) -> Answer | None:
        token = self._players[operation.user_id].token
        timeout_ms = round(deadline_seconds * 1000)
        headers = f"grpc-timeout: {timeout_ms}m\r\n" if timeout_ms else ""
        line = LINES[operation.kind].format(banner_id=operation.banner_id)
        answer = await rest.send(line, token, operation.key, operation.request, headers=headers)
        if answer is None:
            self._history.note(operation, 0, b"")
        else:
            self._history.note(operation, answer.status, answer.body)
        return answer

    def _take(self, operation: Operation, answer: Answer | None) -> None:
        """Records an answer. A pending answer is not an outcome yet."""
        if answer is None:
            operation.unknown_count += 1
            self._history.count("no answer")
            return
        if answer.status == OK and orjson.loads(answer.body).get("state") == PENDING:
            self._history.count(f"{PENDING} {operation.kind}")
            return
        if answer.status == OK:
            operation.outcome, operation.body = Outcome.DONE, answer.body
            self._workload.record_success(operation)
            self._history.done.append(operation)
            self._history.count(f"200 {operation.kind}")
            return
        reason = str(orjson.loads(answer.body)["reason"])
        self._history.count(f"{answer.status} {reason}")
        if reason in REFUSALS[operation.kind]:
            operation.outcome = Outcome.REFUSED
            if reason in (INSUFFICIENT_CURRENCY, WALLET_IN_DEBT):
                self._workload.record_insufficient_currency(operation)
            self._history.refused.append(operation)
            return
        operation.unknown_count += 1
        if _is_final(answer):
            self._findings.add(Check.ANSWERS, f"{operation.kind} {operation.key}: {answer.body!r}")
            operation.outcome = Outcome.REFUSED

    async def _repeat(self, rest: RestConnection, operation: Operation) -> None:
        """A repeat may be refused temporarily, but must finally get the first answer."""
        pause_seconds = FIRST_PAUSE_SECONDS
        answer: Answer | None = None
        failure_count = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settle_seconds):
                while failure_count < MOST_FAILURES:
                    answer = await self._send(rest, operation)
                    if answer is not None and (answer.status == OK or _is_final(answer)):
                        break
                    failure_count += answer is not None and answer.status == INTERNAL
                    await asyncio.sleep(pause_seconds)
                    pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        operation.repeat_count += 1
        if answer is None or answer.body != operation.body:
            detail = None if answer is None else answer.body
            self._findings.add(
                Check.REPEATS,
                f"{operation.kind} {operation.key}: first {operation.body!r}, then {detail!r}",
            )


def _is_final(answer: Answer) -> bool:
    """Whether the same request will always get this answer."""
    return 400 <= answer.status < 500 and answer.status not in LATER
