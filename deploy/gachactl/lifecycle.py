"""`gachactl down`, `status`, `roll`, `renew` and `clean`, of a mesh on this machine."""

import asyncio
import os
import shutil
import signal
import sys
import time
from typing import Annotated

import psutil
import typer

from deploy.gachactl.mesh_report import print_mesh, print_mesh_json
from deploy.gachactl.output import Format, FormatOption, say, say_with_time
from deploy.gachactl.target import Folder, layout_of, require_runner, running_mesh
from deploy.local import mesh_file
from deploy.local.errors import LocalRunError
from deploy.local.layout import DEFAULT_FOLDER, Layout
from deploy.local.observing.health import HEALTHY, health_of
from deploy.local.supervision import control, run_lock
from deploy.local.waiting import FIRST_REPORT_SECONDS, NEXT_REPORT_SECONDS, not_ended, sentence

STOP_TIMEOUT_SECONDS = 90.0


def down(folder: Folder = DEFAULT_FOLDER) -> None:
    """Stop the mesh, and wait until all its processes have ended. Idempotent."""
    layout = layout_of(folder)
    pid = run_lock.holder_pid(layout.lock)
    if pid is None:
        say(f"Nothing runs in {layout.folder}.")
        return
    say_with_time(f"Stopping the mesh in {layout.folder}.")
    stop_runner(layout, pid)
    say("Everything is stopped.")


def stop_runner(layout: Layout, pid: int) -> None:
    """Ends the runner with all its processes. Raises LocalRunError when it does not end."""
    names = _names_by_pid(layout)
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    pause_seconds = FIRST_REPORT_SECONDS
    while not run_lock.wait_until_free(layout.lock, timeout_seconds=pause_seconds):
        if time.monotonic() > deadline:
            raise LocalRunError(
                f"The runner (process {pid}) still runs after {STOP_TIMEOUT_SECONDS:.0f} s. "
                f"`kill -9 {pid}` ends it and everything that it started."
            )
        running = [name for each, name in names.items() if psutil.pid_exists(each)]
        say_with_time(sentence(not_ended(running or ["the runner"])))
        pause_seconds = NEXT_REPORT_SECONDS


def _names_by_pid(layout: Layout) -> dict[int, str]:
    """The processes of a mesh that is up."""
    try:
        mesh = mesh_file.read(layout.mesh)
    except ValueError:
        return {}
    processes = [] if mesh is None else mesh["processes"]
    return {each["pid"]: each["name"] for each in processes if each["pid"] is not None}


def status(folder: Folder = DEFAULT_FOLDER, output: FormatOption = Format.TABLE) -> None:
    """Show what runs where, and whether it is healthy.

    JSON: {"gateway": URL, "registries": [ADDRESS, ...], "tls": {"ca", "operator"} or null,
    "processes": [{"name", "role", "pid", "address", "metrics", "health"}, ...]}; health is
    healthy, not healthy or not running.
    """
    mesh = running_mesh(layout_of(folder))
    found = asyncio.run(health_of(mesh))
    if output is Format.JSON:
        print_mesh_json(mesh, found)
    else:
        print_mesh(mesh, found)
    raise typer.Exit(0 if set(found.values()) == {HEALTHY} else 1)


def roll(folder: Folder = DEFAULT_FOLDER) -> None:
    """Restart every process of the mesh, one after the other, while it serves."""
    layout = layout_of(folder)
    running_mesh(layout)
    control.ask(layout.control, "roll", say_with_time)


def renew(folder: Folder = DEFAULT_FOLDER) -> None:
    """Renew all certificates of a mesh with TLS, while it serves."""
    layout = layout_of(folder)
    require_runner(layout)
    control.ask(layout.control, "renew", say_with_time)


Yes = Annotated[bool, typer.Option("--yes", help="Do not ask (make: YES=1).")]


def clean(folder: Folder = DEFAULT_FOLDER, yes: Yes = False) -> None:
    """Delete everything of a mesh: databases, secrets, logs and ports. Asks first. Idempotent."""
    layout = layout_of(folder)
    if not layout.folder.exists():
        say(f"There is no {layout.folder}: nothing to delete.")
        return
    if not layout.lock.exists() and any(layout.folder.iterdir()):
        raise LocalRunError(f"{layout.folder} is not a mesh's folder: it is left as it is.")
    with run_lock.hold(layout.lock) as is_ours:
        if not is_ours:
            raise LocalRunError(f"The mesh runs: stop it first with {layout.command('down')}.")
        if not yes:
            _ask_before_deleting(layout)
        say_with_time(f"Deleting {layout.folder}.")
        try:
            shutil.rmtree(layout.folder)
        except PermissionError as error:
            raise LocalRunError(
                f"{error.filename} belongs to another user, who must remove it."
            ) from error
    say(f"{layout.folder} is deleted.")


def _ask_before_deleting(layout: Layout) -> None:
    what = f"players, wallets, items, secrets and logs in {layout.folder}"
    if not sys.stdin.isatty():
        raise LocalRunError(
            f"This deletes all {what}, so it asks, and there is no terminal to answer. Nothing "
            f"was deleted. {layout.command('clean --yes', 'clean YES=1')} deletes without asking."
        )
    if not typer.confirm(f"Delete all {what}?", err=True):
        raise LocalRunError("Nothing was deleted.")
