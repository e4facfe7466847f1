"""The tables of warm starts, by phase."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proof.bench.figures import spread_of
from proof.bench.pairs import ratio
from proof.bench.start_times import StartSample
from proof.bench.tables.cells import spread_cell
from proof.bench.tables.report import write_document

WHOLE = "until everything is healthy"
START_SECONDS = 8.0


def show(console: Console, sides: Mapping[str, Sequence[StartSample]]) -> None:
    """A table for each side by its name, and the ratio of the first to the second if there are
    two. The samples of the same number are a pair."""
    for name, samples in sides.items():
        console.print(_table(name, samples))
    (ours, first), *others = sides.items()
    seconds = spread_cell(spread_of(_seconds(first)))
    console.print(f"A start of the {ours}: {seconds} s; target: at most {START_SECONDS:g} s.")
    for name, samples in others:
        wall = ratio(_seconds(first), _seconds(samples))
        cpu = ratio(_cpu_seconds(first), _cpu_seconds(samples))
        console.print(
            f"Divided by {escape(name)}, in pairs: {spread_cell(wall)}; "
            f"CPU seconds: {spread_cell(cpu)}."
        )


def write_json(path: Path, sides: Mapping[str, Sequence[StartSample]]) -> None:
    """Every start with its phases."""
    starts = {name: [dataclasses.asdict(each) for each in of] for name, of in sides.items()}
    write_document(path, {"starts": starts})


def _table(name: str, samples: Sequence[StartSample]) -> Table:
    table = Table(title=f"Warm starts: {escape(name)}", title_justify="left")
    table.add_column("from this sentence of the runner until the next")
    table.add_column("seconds", justify="right", no_wrap=True)
    names = dict.fromkeys(phase.name for sample in samples for phase in sample.phases)
    for phase in names:
        seconds = [each.seconds for of in samples for each in of.phases if each.name == phase]
        table.add_row(escape(phase), spread_cell(spread_of(seconds)))
    table.add_section()
    table.add_row(WHOLE, spread_cell(spread_of(_seconds(samples))), style="bold")
    used = spread_of(_cpu_seconds(samples))
    table.add_row("CPU seconds of all processes", spread_cell(used))
    return table


def _seconds(samples: Sequence[StartSample]) -> list[float]:
    return [sample.seconds for sample in samples]


def _cpu_seconds(samples: Sequence[StartSample]) -> list[float]:
    return [sample.cpu_seconds for sample in samples]
