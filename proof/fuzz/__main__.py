"""Sends random input to every endpoint of a mesh: `python -m proof.fuzz`.

Exit status: 0 when no answer was our bug, no instance was lost, no process logged an unexpected
failure, and every invariant holds over all data; else 1.
"""

import random
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from deploy.local.layout import REPOSITORY
from proof.fuzz.report import Reporter
from proof.fuzz.runs import Size, fuzz
from proof.stack import MeshNotUp

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    messages: Annotated[int, typer.Option(min=0, help="gRPC requests; 0 for none.")] = 50_000,
    rest_seconds: Annotated[
        int,
        typer.Option(min=0, max=720, help="Length of REST requests, as one player; 0 for none."),
    ] = 180,
    slow_connections: Annotated[
        int, typer.Option(min=0, help="Slow clients of each kind at a time; 0 for none.")
    ] = 8_500,
    slow_seconds: Annotated[
        float, typer.Option(min=1.0, help="How long pulls beside each kind are measured.")
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="0 for a random one.")] = 0,
    results: Annotated[Path, typer.Option(help="Folder for the logs of runs.")] = REPOSITORY
    / "var"
    / "fuzz",
) -> None:
    """Sends random requests over REST and gRPC, then connects slow clients, and checks that
    nothing is harmed."""
    seed = seed or random.SystemRandom().randrange(1, 2**31)
    folder = results.resolve() / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}"
    folder.mkdir(parents=True)
    # The user that PostgreSQL runs as passes through.
    folder.chmod(0o755)
    reporter = Reporter()
    reporter.say(f"Seed {seed}; the logs are kept in {folder}.")
    try:
        size = Size(messages, rest_seconds, slow_connections, slow_seconds)
        is_well = fuzz(folder, size, seed, reporter)
    except MeshNotUp as error:
        sys.exit(str(error))
    raise typer.Exit(0 if is_well else 1)


if __name__ == "__main__":
    app()
