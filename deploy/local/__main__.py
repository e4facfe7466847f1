"""The commands of the local runner:
`python -m deploy.local up|down|status|roll|renew|rotate-keys|clean|admin-token`.

Exit status: 0 as asked; 1 failed, or not all is healthy; 3 nothing runs (status).
"""

import asyncio
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy.local import mesh_file
from deploy.local.commands import detached, status
from deploy.local.commands.report import Reporter
from deploy.local.commands.rotate_keys import rotate_keys
from deploy.local.errors import LocalRunError
from deploy.local.layout import DEFAULT_FOLDER, Layout
from deploy.local.run import MeshRun
from deploy.local.secrets import operator
from deploy.local.supervision import control, run_lock
from deploy.local.supervision.parent_death import die_with_parent
from deploy.local.topology import PROFILES

STOP_TIMEOUT_SECONDS = 90.0
NOTHING_RUNS = 3

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Runs the whole mesh on this machine. Several meshes may run side by side, each "
    "with a folder and a port of its own.",
)

Folder = Annotated[Path, typer.Option(help="Where data, logs, secrets and mesh.json are kept.")]
Port = Annotated[
    int,
    typer.Option(
        min=0,
        max=65_535,
        envvar="MESH_PORT_GATEWAY",
        help="The gateway's port; 0 for any free one. All other ports are chosen from the "
        "free ones, and kept from run to run.",
    ),
]

Gateways = Annotated[
    int,
    typer.Option(
        min=1,
        max=16,
        help="How many gateways, each a process with a port of its own; the first has PORT.",
    ),
]


Profile = Annotated[
    Literal["embedded", "ha"],
    typer.Option(
        help="embedded: one registry, and nothing needed on the machine. ha: three registries "
        "over an etcd of three members, whose binary must be installed.",
    ),
]


Tls = Annotated[
    bool,
    typer.Option(
        "--tls",
        help="Have every process show a certificate of a CA of this mesh's own, and serve "
        "HTTPS. The profile ha always does.",
    ),
]


@app.command()
def up(
    folder: Folder = DEFAULT_FOLDER,
    port: Port = 8080,
    gateways: Gateways = 1,
    profile: Profile = "embedded",
    tls: Tls = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when all is ready, and go on running.")
    ] = False,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop when the process that called this ends.")
    ] = False,
    ready_fd: Annotated[int, typer.Option(hidden=True)] = -1,
) -> None:
    """Start the mesh, and keep it running until Ctrl-C."""
    if with_parent:
        die_with_parent(os.getppid(), signal.SIGTERM)
    layout = Layout(folder.resolve())
    if detach:
        _refuse_second(layout)
        raise typer.Exit(detached.start(layout, port, gateways, profile, tls))

    def on_ready() -> None:
        if ready_fd >= 0:
            detached.tell_ready(ready_fd)

    with run_lock.hold(layout.lock) as is_ours:
        if not is_ours:
            _refuse_second(layout)
        shape = PROFILES[profile]
        mesh = MeshRun(
            layout,
            gateway_port=port,
            reporter=Reporter(),
            on_ready=on_ready,
            shape=replace(shape, gateway_count=gateways, tls=tls or shape.tls),
        )
        asyncio.run(mesh.run())


def _refuse_second(layout: Layout) -> None:
    pid = run_lock.holder_pid(layout.lock)
    if pid is not None:
        raise LocalRunError(
            f"A mesh runs in {layout.folder} already (its runner is process {pid}). "
            "See it with `make status`, stop it with `make down`."
        )


@app.command()
def down(folder: Folder = DEFAULT_FOLDER) -> None:
    """Stop the mesh, and wait until all of it is gone."""
    layout = Layout(folder.resolve())
    pid = run_lock.holder_pid(layout.lock)
    if pid is None:
        Reporter().say(f"Nothing runs in {layout.folder}.")
        return
    os.kill(pid, signal.SIGTERM)
    if not run_lock.wait_until_free(layout.lock, timeout_seconds=STOP_TIMEOUT_SECONDS):
        raise LocalRunError(
            f"The runner (process {pid}) still runs after {STOP_TIMEOUT_SECONDS:.0f} s. "
            f"`kill -9 {pid}` ends it and everything that it started."
        )
    Reporter().say("Everything is stopped.")


@app.command("status")
def show_status(folder: Folder = DEFAULT_FOLDER) -> None:
    """Show what runs where, and whether it is healthy."""
    layout = Layout(folder.resolve())
    pid = run_lock.holder_pid(layout.lock)
    mesh = mesh_file.read(layout.mesh)
    if pid is None:
        Reporter().say(f"Nothing runs in {layout.folder}.")
        raise typer.Exit(NOTHING_RUNS)
    if mesh is None:
        Reporter().say(f"The mesh is starting or stopping (its runner is process {pid}).")
        raise typer.Exit(1)
    health = asyncio.run(status.health(mesh))
    Reporter().show(mesh, health)
    raise typer.Exit(0 if set(health.values()) == {status.HEALTHY} else 1)


@app.command()
def roll(folder: Folder = DEFAULT_FOLDER) -> None:
    """Restart every process of the mesh, one after the other, while it serves."""
    layout = Layout(folder.resolve())
    if run_lock.holder_pid(layout.lock) is None:
        raise LocalRunError(f"Nothing runs in {layout.folder}: start it with `make up`.")
    if mesh_file.read(layout.mesh) is None:
        raise LocalRunError("The mesh is starting or stopping: try again when it is up.")
    control.ask(layout.control, "roll", Reporter().say)


@app.command()
def renew(folder: Folder = DEFAULT_FOLDER) -> None:
    """Issue every certificate of a mesh with TLS anew, while it serves."""
    layout = Layout(folder.resolve())
    if run_lock.holder_pid(layout.lock) is None:
        raise LocalRunError(f"Nothing runs in {layout.folder}: start it with `make up TLS=1`.")
    control.ask(layout.control, "renew", Reporter().say)


@app.command()
def clean(folder: Folder = DEFAULT_FOLDER) -> None:
    """Forget everything: databases, secrets, logs and ports."""
    layout = Layout(folder.resolve())
    if not layout.folder.exists():
        return
    if not layout.lock.exists() and any(layout.folder.iterdir()):
        raise LocalRunError(f"{layout.folder} is not a mesh's folder: it is left as it is.")
    with run_lock.hold(layout.lock) as is_ours:
        if not is_ours:
            raise LocalRunError("The mesh runs: stop it first with `make down`.")
        try:
            shutil.rmtree(layout.folder)
        except PermissionError as error:
            raise LocalRunError(
                f"{error.filename} belongs to another user, who must remove it."
            ) from error


@app.command("admin-token")
def print_admin_token(
    folder: Folder = DEFAULT_FOLDER,
    key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="MESH_SERVICE_KEY_FILE",
            help="The operators' key, for a mesh that `make up` did not start.",
        ),
    ] = None,
) -> None:
    """Print a bearer token for an operator's calls, valid for a minute."""
    typer.echo(operator.identity(key_file or Layout(folder.resolve()).admin_key).token())


app.command("rotate-keys")(rotate_keys)


def main() -> None:
    try:
        app()
    except LocalRunError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
