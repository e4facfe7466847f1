"""Failpoints that the harness arms through files; the process that reaches one acts.

    armed/INSTANCE/POINT    the action, and the shot's name
    fired/SHOT              the instance that acts, written before it does
    reached/INSTANCE/POINT  exists for every point that an instance has ever reached

A shot is armed at every instance that might reach its point. The first instance that reaches it
takes the shot, and the harness disarms the others.
"""

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Collection, Iterable
from enum import StrEnum
from pathlib import Path

from mesh.errors import Unavailable

OVERLOOK = "overlook"
"""The last part of the name of the point after a branch's statements; see `service_process`."""


class Action(StrEnum):
    """The action of a process at an armed point."""

    CRASH = "crash"
    STALL = "stall"
    ERROR = "error"
    BUG = "bug"
    OVERLOOK = "overlook"


class Overlooked(Exception):
    """A statement fails here, and its sender ignores the failure."""


class Bug(Exception):
    """An unexpected error."""


class ArmedFailpoints:
    """A `mesh.failpoints.Failpoint` that acts where the harness has armed it."""

    def __init__(self, folder: Path, instance: str) -> None:
        self._instance = instance
        self._fired = folder / "fired"
        self._armed = folder / "armed" / instance
        self._reached = folder / "reached" / instance
        self._known: set[str] = set()
        for each in (self._fired, self._armed, self._reached):
            each.mkdir(parents=True, exist_ok=True)

    def __call__(self, point: str) -> None:
        if point not in self._known:
            self._known.add(point)
            (self._reached / point).touch()
        path = self._armed / point
        if not path.exists():
            return
        try:
            action, shot = path.read_text().split()
            path.unlink()
        except FileNotFoundError:
            return
        (self._fired / shot).write_text(self._instance)
        _act(Action(action))


def _act(action: Action) -> None:
    if action is Action.CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    elif action is Action.STALL:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action is Action.ERROR:
        raise Unavailable("The fault harness made this call fail.")
    elif action is Action.BUG:
        raise Bug
    else:
        raise Overlooked


class FailpointControl:
    """Arms and disarms failpoints, in the harness."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        (folder / "fired").mkdir(parents=True, exist_ok=True)

    def arm(self, instances: Iterable[str], point: str, action: Action) -> str:
        """Arms one shot at all of the instances, and returns its name."""
        shot = f"{next(self._numbers)}-{action}-{point}"
        for instance in instances:
            armed = self._folder / "armed" / instance
            armed.mkdir(parents=True, exist_ok=True)
            draft = self._folder / f"draft-{shot}"
            draft.write_text(f"{action} {shot}")
            draft.replace(armed / point)
        return shot

    def fired(self, shot: str) -> str | None:
        """The instance that took the shot; None if there is none yet."""
        try:
            return (self._folder / "fired" / shot).read_text() or None
        except FileNotFoundError:
            return None

    def disarm(self, shots: Collection[str]) -> None:
        """Disarms these shots at the instances that did not take them."""
        for path in self._folder.glob("armed/*/*"):
            with contextlib.suppress(FileNotFoundError):
                if path.read_text().split()[1] in shots:
                    path.unlink()

    def reached(self) -> set[str]:
        """The points that any instance has reached since the start of the mesh."""
        return {path.name for path in self._folder.glob("reached/*/*")}
