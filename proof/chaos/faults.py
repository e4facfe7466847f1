"""What is done to whom: each kind of harm, to each process that need not matter.

The databases are left out for as long as each is alone: a mesh whose only copy of its data
is away cannot answer. They join HARMED when they have replicas.
"""

import asyncio
import contextlib
import os
import signal
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from proof.stack import Mesh

FREEZE_SECONDS = 5.0
REPLACED_SECONDS = 40.0
POLL_SECONDS = 0.05
HARMED = (
    "account_svc",
    "gacha_svc",
    "gateway_http",
    "registry",
    "payment_sandbox",
    "cache",
    "etcd",
)
"""By role; of those that a mesh has not, nothing is harmed."""
HARMED_TOGETHER = ("registry", "etcd")
"""Roles without which the mesh goes on altogether."""


class Harm(StrEnum):
    """What is done."""

    KILL = "SIGKILL"
    FREEZE = "SIGSTOP, 5 s, SIGCONT"
    TERM = "SIGTERM"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of harm to one process, or to all of a role at once."""

    harm: Harm
    names: tuple[str, ...]
    is_of_leader: bool = False
    """Of the one of them, all members of etcd, that leads when it is aimed."""

    @property
    def name(self) -> str:
        who = "the leader of etcd" if self.is_of_leader else " and ".join(self.names)
        return f"{self.harm} of {who}"

    def aimed(self, mesh: Mesh) -> "Fault":
        """With the names of those whom it meets now."""
        return replace(self, names=(_leader(mesh),)) if self.is_of_leader else self

    @property
    def cuts_connections(self) -> bool:
        """Whether it ends connections of clients outside in the middle of a call, which
        nothing behind them can repeat."""
        return self.harm is Harm.KILL and self.names[0].startswith("gateway_http")

    async def inject(self, mesh: Mesh) -> None:
        """Returns when a freeze is over, or what was ended runs again, healthy or not."""
        pids = self._pids(mesh)
        assert len(pids) == len(self.names), f"not all of {self.names} run"
        if self.harm is not Harm.FREEZE:
            _send(pids, signal.SIGKILL if self.harm is Harm.KILL else signal.SIGTERM)
            await self._replaced(mesh, pids)
            return
        _send(pids, signal.SIGSTOP)
        try:
            await asyncio.sleep(FREEZE_SECONDS)
        finally:
            _send(pids, signal.SIGCONT)

    def _pids(self, mesh: Mesh) -> list[int]:
        return [
            each["pid"]
            for each in mesh.read()["processes"]
            if each["name"] in self.names and each["pid"] is not None
        ]

    async def _replaced(self, mesh: Mesh, pids: Sequence[int]) -> None:
        async with asyncio.timeout(REPLACED_SECONDS):
            while True:
                now = self._pids(mesh)
                if len(now) == len(pids) and not set(now) & set(pids):
                    return
                await asyncio.sleep(POLL_SECONDS)


def faults_of(mesh: Mesh) -> list[Fault]:
    """Every fault that the mesh has the processes for."""
    targets: list[tuple[str, ...]] = [
        (each["name"],) for role in HARMED for each in mesh.processes(role)
    ]
    for role in HARMED_TOGETHER:
        names = tuple(each["name"] for each in mesh.processes(role))
        if len(names) > 1:
            targets.append(names)
    faults = [Fault(harm, names) for names in targets for harm in Harm]
    members = tuple(each["name"] for each in mesh.processes("etcd"))
    if members:
        faults += [Fault(harm, members, is_of_leader=True) for harm in Harm]
    return faults


def _leader(mesh: Mesh) -> str:
    for member in mesh.processes("etcd"):
        with urllib.request.urlopen(f"http://{member['address']}/metrics", timeout=5) as answer:
            if b"\netcd_server_is_leader 1" in answer.read():
                return member["name"]
    raise AssertionError("etcd has no leader")


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
