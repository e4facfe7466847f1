"""The command `make rotate-keys`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from deploy.local import mesh_file
from deploy.local.commands.report import Reporter
from deploy.local.commands.rotation import Rotation
from deploy.local.commands.signing_views import Views, ask_all
from deploy.local.errors import LocalRunError
from deploy.local.layout import DEFAULT_FOLDER, Layout
from deploy.local.secrets import operator
from deploy.local.secrets.certificates import now_utc
from deploy.local.secrets.credentials import signing_keys_in
from deploy.local.supervision import run_lock


def rotate_keys(
    folder: Annotated[
        Path, typer.Option(help="Where data, logs, secrets and mesh.json are kept.")
    ] = DEFAULT_FOLDER,
    revoke: Annotated[
        str | None,
        typer.Option(
            metavar="KID",
            help="Remove this key at once, for it leaked: whoever has a token of it logs in again.",
        ),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Only remove keys of which nothing valid is left.")
    ] = False,
) -> None:
    """Change the key that players' tokens are signed with, while the mesh serves."""
    layout = Layout(folder.resolve())
    if revoke is not None and prune:
        raise LocalRunError("Say either which key to revoke, or to prune; not both.")
    if run_lock.holder_pid(layout.lock) is None:
        raise LocalRunError(f"Nothing runs in {layout.folder}: start it with `make up`.")
    identity = operator.identity(layout.admin_key)

    async def ask() -> Views:
        mesh = mesh_file.read(layout.mesh)
        if mesh is None:
            raise LocalRunError("The mesh is starting or stopping: try again when it is up.")
        return await ask_all(mesh, identity)

    rotation = Rotation(signing_keys_in(layout.secrets), ask, Reporter().say, now_utc)
    with run_lock.hold(layout.signing_keys_lock) as is_ours:
        if not is_ours:
            pid = run_lock.holder_pid(layout.signing_keys_lock)
            raise LocalRunError(f"Another rotation is under way (process {pid}): wait for it.")
        if revoke is not None:
            asyncio.run(rotation.revoke(revoke))
        elif prune:
            asyncio.run(rotation.prune())
        else:
            asyncio.run(rotation.rotate())
