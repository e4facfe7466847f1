"""The faults: each kind of harm, to each process that the mesh can lose.

The databases are left out as long as they have no replicas: a mesh cannot answer without the
only copy of its data. Add them to HARMED when they have replicas.
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
"""Kinds of harm by role; roles that a mesh does not have are skipped."""
HARMED_TOGETHER = ("registry", "etcd")
"""Roles that the mesh can lose completely."""


class Harm(StrEnum):
    """The kinds of harm."""

    KILL = "SIGKILL"
    FREEZE = "SIGSTOP, 5 s, SIGCONT"
    TERM = "SIGTERM"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of harm to one process, or to all of a role at once."""

    harm: Harm
    names: tuple[str, ...]
    is_of_leader: bool = False
    """Harms only the present leader; the names are all members of etcd."""

    @property
    def name(self) -> str:
        who = "the leader of etcd" if self.is_of_leader else " and ".join(self.names)
        return f"{self.harm} of {who}"

    def aimed(self, mesh: Mesh) -> "Fault":
        """The same fault with the names of the processes that it harms now."""
        return replace(self, names=(_leader(mesh),)) if self.is_of_leader else self

    @property
    def cuts_connections(self) -> bool:
        """Whether it closes external clients' connections during a call, which the mesh cannot
        repeat."""
        return self.harm is Harm.KILL and self.names[0].startswith("gateway_http")

    async def inject(self, mesh: Mesh) -> None:
        """Returns when a freeze is over, or when the killed processes run again, even if they
        are not healthy yet."""
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
    """Every fault whose processes the mesh has."""
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
        url = f"https://{member['address']}/metrics"
        with urllib.request.urlopen(url, timeout=5, context=mesh.trust) as answer:
            if b"\netcd_server_is_leader 1" in answer.read():
                return member["name"]
    raise AssertionError("etcd has no leader")


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
