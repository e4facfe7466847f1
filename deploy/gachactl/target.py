"""Finds the mesh that a command works on.

By default it is the mesh that runs in a folder. The environment can name another one:
MESH_REGISTRIES with MESH_SERVICE_KEY_FILE (the operators' key) and, with TLS, MESH_TLS_DIR;
ACCOUNT_DATABASE_URL and GACHA_DATABASE_URL for commands that read the databases.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from deploy.local import mesh_file
from deploy.local.errors import LocalRunError
from deploy.local.layout import Layout
from deploy.local.mesh_file import Mesh
from deploy.local.supervision import run_lock
from deploy.local.topology import DATABASES

URL_SCHEME = "postgresql://"

Folder = Annotated[
    Path, typer.Option(help="Where a mesh keeps its data, logs, secrets and mesh.json.")
]


class NothingRuns(LocalRunError):
    """There is no mesh to operate."""


def layout_of(folder: Path) -> Layout:
    return Layout(folder.resolve())


def require_runner(layout: Layout) -> int:
    """The pid of the runner of the mesh in a folder. Raises NothingRuns."""
    pid = run_lock.holder_pid(layout.lock)
    if pid is None:
        raise NothingRuns(f"Nothing runs in {layout.folder}: start it with {layout.command('up')}.")
    return pid


def running_mesh(layout: Layout) -> Mesh:
    """The content of the folder's mesh.json. Raises NothingRuns, and LocalRunError
    while it is not up."""
    require_runner(layout)
    try:
        mesh = mesh_file.read(layout.mesh)
    except ValueError as error:
        raise LocalRunError(
            f"{layout.mesh} is damaged ({error}): start the mesh again with "
            f"{layout.command('down')} and {layout.command('up')}."
        ) from error
    if mesh is None:
        raise LocalRunError("The mesh is starting or stopping: try again when it is up.")
    return mesh


def database_variable(database: str) -> str:
    """The variable that names a database: ACCOUNT_DATABASE_URL, GACHA_DATABASE_URL."""
    return f"{database.upper()}_DATABASE_URL"


def database_urls(folder: Path) -> Mapping[str, str]:
    """The postgresql:// URLs by database name: from the environment if it has any, otherwise
    from the mesh in the folder. Raises LocalRunError."""
    variables = {name: database_variable(name) for name in DATABASES.values()}
    given = {
        name: os.environ[variable] for name, variable in variables.items() if variable in os.environ
    }
    for name, url in given.items():
        if not url.startswith(URL_SCHEME):
            raise LocalRunError(f"{variables[name]} must be a URL that begins with {URL_SCHEME}.")
    return given or running_mesh(layout_of(folder))["databases"]
