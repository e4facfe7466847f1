"""The local runner with services under fault: `python -m proof.faults.processes.runner`."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.gachactl.output import say_with_time
from deploy.local.errors import LocalRunError
from deploy.local.layout import Layout
from deploy.local.run import MeshRun
from deploy.local.topology import Topology

INSTANCE_COUNTS = {"account_svc": 2, "gacha_svc": 3}


def run(
    folder: Annotated[Path, typer.Option()],
    port: Annotated[int, typer.Option()],
    mutant: Annotated[str, typer.Option()] = "",
) -> None:
    """Runs a mesh of `proof.faults.processes.service_process` until a signal."""
    programs = {
        role: (
            "-m",
            "proof.faults.processes.service_process",
            role,
            str(folder.resolve() / "faults"),
            *mutant.split(),
        )
        for role in INSTANCE_COUNTS
    }
    mesh = MeshRun(
        Layout(folder.resolve()),
        gateway_port=port,
        say=say_with_time,
        on_ready=lambda mesh: None,
        topology=Topology(INSTANCE_COUNTS, programs),
    )
    try:
        asyncio.run(mesh.run())
    except LocalRunError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    typer.run(run)
