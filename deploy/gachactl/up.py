"""`gachactl up`: runs a whole mesh on this machine."""

import asyncio
import os
import signal
from dataclasses import replace

import typer

from deploy.gachactl import detached
from deploy.gachactl.mesh_options import (
    Detach,
    Gateways,
    Port,
    Profile,
    ReadyFd,
    Tls,
    WithParent,
)
from deploy.gachactl.mesh_report import print_examples, print_mesh, print_mesh_json
from deploy.gachactl.output import Format, FormatOption, say, say_to_log
from deploy.gachactl.target import Folder, layout_of, running_mesh
from deploy.local.errors import LocalRunError
from deploy.local.layout import DEFAULT_FOLDER, Layout
from deploy.local.mesh_file import Mesh
from deploy.local.run import MeshRun, OnReady
from deploy.local.supervision import run_lock
from deploy.local.supervision.parent_death import die_with_parent
from deploy.local.topology import PROFILES, Topology

STOPPED_EARLY = 130
"""The status of a program that Ctrl-C ended."""


def up(
    folder: Folder = DEFAULT_FOLDER,
    port: Port = 8080,
    gateways: Gateways = 1,
    profile: Profile = "embedded",
    tls: Tls = False,
    detach: Detach = False,
    with_parent: WithParent = False,
    ready_fd: ReadyFd = -1,
    output: FormatOption = Format.TABLE,
) -> None:
    """Start the mesh, and keep it running until Ctrl-C. Exit status 130 if it is stopped before
    all is healthy.

    JSON, when all is healthy: {"gateway": URL, "registries": [ADDRESS, ...], "tls": {"ca",
    "operator"} or null, "processes": [{"name", "role", "pid", "address", "metrics"}, ...]}.
    """
    if with_parent:
        die_with_parent(os.getppid(), signal.SIGTERM)
    layout = layout_of(folder)
    chosen = PROFILES[profile]
    topology = replace(chosen, gateway_count=gateways, tls=tls or chosen.tls)
    if detach:
        _refuse_second(layout)
        options = ["--port", str(port), "--gateways", str(gateways), "--profile", profile]
        status = detached.start(layout, [*options, *(["--tls"] if tls else [])])
        if status == 0:
            say(f"It runs in the background; {layout.command('down')} stops it.")
            _print(running_mesh(layout), output)
        raise typer.Exit(status)

    def on_ready(mesh: Mesh) -> None:
        if ready_fd >= 0:
            detached.report_ready(ready_fd)
        else:
            say_to_log(f"Ctrl-C or {layout.command('down')} stops it.")
            _print(mesh, output)

    _run(layout, port, topology, on_ready)


def _run(layout: Layout, port: int, topology: Topology, on_ready: OnReady) -> None:
    ready = asyncio.Event()

    def note_ready(mesh: Mesh) -> None:
        ready.set()
        on_ready(mesh)

    with run_lock.hold(layout.lock) as is_ours:
        if not is_ours:
            _refuse_second(layout)
        mesh = MeshRun(
            layout, gateway_port=port, say=say_to_log, on_ready=note_ready, topology=topology
        )
        asyncio.run(mesh.run())
    if not ready.is_set():
        raise typer.Exit(STOPPED_EARLY)


def _print(mesh: Mesh, output: Format) -> None:
    if output is Format.JSON:
        print_mesh_json(mesh)
    else:
        print_mesh(mesh)
        print_examples(mesh)


def _refuse_second(layout: Layout) -> None:
    pid = run_lock.holder_pid(layout.lock)
    if pid is not None:
        raise LocalRunError(
            f"A mesh runs in {layout.folder} already (its runner is process {pid}). See it with "
            f"{layout.command('status')}, stop it with {layout.command('down')}."
        )
