"""Runs one fault after another under load, each until the mesh has recovered."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from deploy.local.observing.health import HEALTHY, health_of
from deploy.local.observing.visibility import Visibility
from deploy.local.secrets import operator
from proof.chaos.call_log import CONNECTION_LOST, OK, Call, CallLog, ClientKind, Figures, figures
from proof.chaos.faults import Fault
from proof.chaos.load import Load
from proof.invariants import broken_invariants
from proof.load.seeded_players import SeededPlayer
from proof.stack import Mesh

BACK_SECONDS = 60.0
BEFORE_SECONDS, AFTER_SECONDS = 0.5, 1.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class FaultResult:
    """The result of one fault. Times are from its beginning. `out_after_seconds` is None if no
    client lists the process, or if no client dropped it."""

    fault: Fault
    figures: Figures
    unavoidable: Counter[str]
    errors: Counter[str]
    out_after_seconds: float | None
    back_after_seconds: float


class Chaos:
    """One run against a healthy mesh, with players that exist in it."""

    def __init__(
        self, mesh: Mesh, players: Sequence[SeededPlayer], seed: int, *, retries: bool = True
    ) -> None:
        """For `retries` see `proof.chaos.load.Load`."""
        self._mesh, self._chance = mesh, random.Random(seed)
        self.calls = CallLog()
        self._load = Load(mesh, players, self.calls, seed, retries=retries)
        self._callers = Visibility(operator.identity(mesh.layout.admin_key))

    async def run(
        self, faults: Sequence[Fault], goes_on: Callable[[], bool]
    ) -> AsyncIterator[FaultResult]:
        """Runs each fault once in a random order, and continues while `goes_on`. Raises
        AssertionError when the mesh does not recover."""
        async with self._load.running():
            await self._whole_again()
            is_first = True
            while is_first or goes_on():
                for fault in self._chance.sample(faults, len(faults)):
                    if not is_first and not goes_on():
                        break
                    yield await self._harm(fault)
                is_first = False

    async def _harm(self, fault: Fault) -> FaultResult:
        await asyncio.sleep(BEFORE_SECONDS)
        fault = fault.aimed(self._mesh)
        with self.calls.window() as window:
            began_at = time.monotonic()
            leaving = asyncio.create_task(self._out(fault, began_at))
            try:
                await fault.inject(self._mesh)
                await self._whole_again()
            finally:
                leaving.cancel()
            back_after_seconds = time.monotonic() - began_at
            await asyncio.sleep(AFTER_SECONDS)
        unavoidable, errors = _split_errors(fault, window)
        out_after_seconds = leaving.result() if not leaving.cancelled() else None
        seen = figures([call for call in window if call.client_kind is not ClientKind.PLAIN])
        return FaultResult(fault, seen, unavoidable, errors, out_after_seconds, back_after_seconds)

    async def _out(self, fault: Fault, began_at: float) -> float:
        while not any(self._load.is_out(name) for name in fault.names):
            await asyncio.sleep(POLL_SECONDS / 5)
        return time.monotonic() - began_at

    async def _whole_again(self) -> None:
        deadline = time.monotonic() + BACK_SECONDS
        while missing := await self._missing():
            assert time.monotonic() < deadline, f"not whole: {missing}"
            await asyncio.sleep(POLL_SECONDS)

    async def _missing(self) -> list[str]:
        mesh = self._mesh.read()
        health = await health_of(mesh)
        unhealthy = [name for name, how in health.items() if how != HEALTHY]
        out = [name for name in health if self._load.is_out(name)]
        return unhealthy or out or await self._callers.unseen(mesh)


async def invariants(mesh: Mesh) -> list[str]:
    """The invariants that do not hold, after the end of the load."""
    return await asyncio.to_thread(broken_invariants, mesh)


def _split_errors(fault: Fault, calls: Sequence[Call]) -> tuple[Counter[str], Counter[str]]:
    """The unavoidable errors, and all others."""
    unavoidable: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for call in calls:
        if call.answer == OK:
            continue
        is_of_its_own = call.client_kind is ClientKind.PLAIN and call.target in fault.names
        is_cut_off = call.answer == CONNECTION_LOST and fault.cuts_connections
        counted = unavoidable if is_of_its_own or is_cut_off else errors
        counted[f"{call.client_kind}: {call.answer}"] += 1
    return unavoidable, errors
