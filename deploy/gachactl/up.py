"""`gachactl up`: runs a whole mesh on this machine."""

import asyncio
import os
import signal
from dataclasses import replace
from typing import Annotated

import typer

from deploy.gachactl import detached
from deploy.gachactl.mesh_report import print_examples, print_mesh, print_mesh_json
from deploy.gachactl.output import Format, FormatOption, say_with_time
from deploy.gachactl.target import Folder, layout_of, running_mesh
from deploy.local.errors import LocalRunError
from deploy.local.layout import DEFAULT_FOLDER, Layout
from deploy.local.mesh_file import Mesh
from deploy.local.run import MeshRun, OnReady
from deploy.local.supervision import run_lock
from deploy.local.supervision.parent_death import die_with_parent
from deploy.local.topology import PROFILES, Topology

MAX_PORT = 65_535
MAX_GATEWAYS = 16


def _port(text: str) -> int:
    return _number(text, 0, MAX_PORT, "--port 9000 (make: PORT=9000), or 0 for any free port")


def _gateway_count(text: str) -> int:
    return _number(text, 1, MAX_GATEWAYS, "--gateways 2 (make: GATEWAYS=2)")


def _number(text: str, lowest: int, highest: int, example: str) -> int:
    # A default comes as the number that it is.
    number = int(text) if str(text).isascii() and str(text).isdigit() else -1
    if lowest <= number <= highest:
        return number
    raise LocalRunError(f"{text!r} is not a number from {lowest} to {highest}: use {example}.")


def _profile(text: str) -> str:
    if text in PROFILES:
        return text
    choices = " or ".join(f"--profile {name} (make: PROFILE={name})" for name in PROFILES)
    raise LocalRunError(f"There is no profile {text!r}: use {choices}.")


def up(
    folder: Folder = DEFAULT_FOLDER,
    port: Annotated[
        int,
        typer.Option(
            parser=_port,
            metavar="PORT",
            envvar="MESH_PORT_GATEWAY",
            help="The gateway's port; 0 for any free one. All other ports are free ones, kept "
            "from run to run.",
        ),
    ] = 8080,
    gateways: Annotated[
        int,
        typer.Option(
            parser=_gateway_count,
            metavar="COUNT",
            help="How many gateways, each a process with a port of its own; the first has PORT.",
        ),
    ] = 1,
    profile: Annotated[
        str,
        typer.Option(
            parser=_profile,
            metavar="PROFILE",
            help="embedded: one registry, and nothing needed on the machine. ha: three "
            "registries over an etcd of three members, whose binary must be installed.",
        ),
    ] = "embedded",
    tls: Annotated[
        bool,
        typer.Option(
            "--tls",
            help="Give every process a certificate of a CA of this mesh's own, and serve HTTPS. "
            "The profile ha always does.",
        ),
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when all is ready, and go on running.")
    ] = False,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop when the process that called this ends.")
    ] = False,
    ready_fd: Annotated[int, typer.Option(hidden=True)] = -1,
    output: FormatOption = Format.TABLE,
) -> None:
    """Start the mesh, and keep it running until Ctrl-C.

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
            _print(running_mesh(layout), output)
        raise typer.Exit(status)
    if ready_fd >= 0:
        _run(layout, port, topology, lambda mesh: detached.report_ready(ready_fd))
    else:
        _run(layout, port, topology, lambda mesh: _print(mesh, output))


def _run(layout: Layout, port: int, topology: Topology, on_ready: OnReady) -> None:
    with run_lock.hold(layout.lock) as is_ours:
        if not is_ours:
            _refuse_second(layout)
        mesh = MeshRun(
            layout, gateway_port=port, say=say_with_time, on_ready=on_ready, topology=topology
        )
        asyncio.run(mesh.run())


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
            "`make status` (`gachactl status`), stop it with `make down` (`gachactl down`)."
        )
