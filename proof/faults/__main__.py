"""Injects faults under load, to check transactions and sagas: `python -m proof.faults`.

Exit status: 0 when no check failed and, with --mutants, each mutant was caught; else 1.
"""

import random
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from deploy.local.layout import REPOSITORY
from proof.faults.campaign import chosen
from proof.faults.injection.faults import all_faults
from proof.faults.processes.mutants import MUTANTS
from proof.faults.report import Reporter
from proof.faults.runs import run, run_mutants
from proof.stack import MeshNotUp

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    minutes: Annotated[float, typer.Option(min=0.0, help="Length of the run; 0 for no run.")] = 5.0,
    seed: Annotated[int, typer.Option(help="0 for a random one.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(help="Only faults whose names contain this.")
    ] = None,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Afterwards run all mutants; each must be caught.")
    ] = False,
    mutant: Annotated[list[str] | None, typer.Option(help="Only these mutants.")] = None,
    results: Annotated[Path, typer.Option(help="Folder for the history of runs.")] = REPOSITORY
    / "var"
    / "faults",
) -> None:
    """Injects faults into a mesh under load, and checks after each one that nothing is lost."""
    if not chosen(all_faults(), only or []):
        raise typer.BadParameter(f"no fault has {' or '.join(only or [])} in its name")
    if unknown := set(mutant or []) - set(MUTANTS):
        raise typer.BadParameter(f"no mutant is called {', '.join(sorted(unknown))}")
    reporter = Reporter()
    seed = seed or random.SystemRandom().randrange(1, 2**31)
    folder = results.resolve() / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}"
    folder.mkdir(parents=True)
    # The user that PostgreSQL runs as passes through.
    folder.chmod(0o755)
    reporter.say(f"Seed {seed}; the history is kept in {folder}.")
    is_well = True
    try:
        if minutes:
            is_well = run(folder, minutes * 60, seed, only or [], reporter)
        if mutants or mutant:
            is_well &= run_mutants(folder, mutant or list(MUTANTS), seed, reporter)
    except MeshNotUp as error:
        sys.exit(str(error))
    raise typer.Exit(0 if is_well else 1)


if __name__ == "__main__":
    app()
