"""The table of the mesh without load, by part."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from rich.table import Table

from proof.bench.figures import spread_of
from proof.bench.meters.idle import IdlePart, IdleSample
from proof.bench.tables.cells import MIB, spread_cell

WHOLE = "the mesh"

IDLE_FIGURES: Mapping[str, Callable[[IdlePart], float]] = {
    "% of a core": lambda part: 100 * part.core_share,
    "wake-ups a second": lambda part: part.wake_ups_per_second,
    "PSS MiB": lambda part: part.pss_bytes / MIB,
    "processes": lambda part: float(part.process_count),
}
"""The figures of a part."""
_DIGITS = {"% of a core": 2, "wake-ups a second": 1}


def parts_of(samples: Sequence[IdleSample]) -> list[str]:
    """All that any sample has, the whole mesh last; none without samples."""
    names = dict.fromkeys(name for sample in samples for name in sample.parts)
    return [*names, WHOLE] if names else []


def of_part(name: str, figure: Callable[[IdlePart], float]) -> Callable[[IdleSample], float]:
    """A figure of a part, or of WHOLE, in a sample."""
    if name == WHOLE:
        return lambda sample: figure(sample.whole)
    return lambda sample: figure(sample.part(name))


def idle_table(samples: Sequence[IdleSample]) -> Table:
    """A row for each part."""
    table = Table(title="The mesh without load, after pulls", title_justify="left")
    table.add_column("process")
    for heading in IDLE_FIGURES:
        table.add_column(heading, justify="right", no_wrap=True)
    for part in parts_of(samples):
        if part == WHOLE:
            table.add_section()
        cells = [
            spread_cell(
                spread_of([of_part(part, figure)(sample) for sample in samples]),
                _DIGITS.get(heading, 0),
            )
            for heading, figure in IDLE_FIGURES.items()
        ]
        table.add_row(part, *cells, style="bold" if part == WHOLE else "")
    return table


def idle_as_json(sample: IdleSample) -> dict[str, object]:
    """A window without load, with the whole mesh beside its parts."""
    parts = {**sample.parts, WHOLE: sample.whole}
    return {name: dataclasses.asdict(part) for name, part in parts.items()}
