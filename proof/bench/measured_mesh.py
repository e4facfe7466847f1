"""The measured mesh: a new one, or one that is already running."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import mesh_file
from deploy.local.layout import Layout
from deploy.local.supervision import run_lock
from proof.bench.errors import BenchFailed
from proof.limited_catalog import CATALOG_SETTING, write_limited_catalog
from proof.stack import NO_RATE_LIMITS, OURS, Checkout, Mesh, start_mesh

FOLDER_OF_DATA = Path("/var/tmp")
"""/var/tmp survives a restart, so it is on a disk. /tmp may be memory, where a flush is free."""


class RunningMesh(Mesh):
    """A mesh that is started and stopped elsewhere."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.output = layout.logs


@contextmanager
def folder_on_disk() -> Iterator[Path]:
    """An empty folder, gone when the context ends."""
    parent = FOLDER_OF_DATA if FOLDER_OF_DATA.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="gacha-mesh-bench-", dir=parent))
    # PostgreSQL's user must be able to enter this folder; the mesh protects the folders in it.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def started_mesh(pull_limit: int = 0, checkout: Checkout = OURS) -> Iterator[Mesh]:
    """A mesh of its own, with the settings of the real one, gone when the context ends. With a
    `pull_limit`, that is the limit of LIMITED_BANNER."""
    with folder_on_disk() as folder:
        environment = dict(NO_RATE_LIMITS)
        if pull_limit:
            catalog = write_limited_catalog(folder / "catalog.yaml", pull_limit)
            environment[CATALOG_SETTING] = str(catalog)
        mesh = start_mesh(folder / "mesh", environment=environment, checkout=checkout)
        try:
            yield mesh
        finally:
            mesh.stop()


def running_mesh(file: Path) -> Mesh:
    """The mesh of a mesh.json file. Raises BenchFailed when it is not up."""
    layout = Layout(file.resolve().parent)
    if mesh_file.read(layout.mesh) is None:
        raise BenchFailed(f"No mesh is up in {layout.folder}: start one with `make up`.")
    return RunningMesh(layout)


def runner_pid(mesh: Mesh) -> int | None:
    """The pid of the local runner that supervises the mesh."""
    return run_lock.holder_pid(mesh.layout.lock)
