"""Tables of what one busy player does to himself and to others."""

from rich.console import Console
from rich.table import Table

from proof.bench.load.window import WindowResult
from proof.bench.neighbours import (
    AT_ONCE,
    COPIES,
    KEYS,
    LOUD_PULLS_PER_SECOND,
    OTHERS,
    NeighbourFigures,
    NeighbourSample,
    per_second,
)

HEADINGS = (
    "round",
    "burst s",
    "pending answers",
    "purchases while pulling",
    "p99 s",
    "others' pulls/s",
    "beside refused",
    "beside held back",
    "p99 ms",
    "beside refused",
    "beside held back",
)


def show(console: Console, figures: NeighbourFigures) -> None:
    """The tables of a whole run."""
    table = Table(
        title=f"A burst of {KEYS * COPIES} purchases, {AT_ONCE} at a time; purchases of a player "
        f"who pulls without a pause; and {OTHERS} players beside one whose "
        f"{LOUD_PULLS_PER_SECOND:.0f} pulls a second are refused or held back"
    )
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for number, sample in enumerate(figures.samples, 1):
        table.add_row(str(number), *_cells(sample))
    console.print(table)
    for what, seconds, target in (
        (
            "the burst, until every answer was final",
            figures.median(lambda sample: sample.burst_seconds),
            3.0,
        ),
        (
            "a purchase while its player pulls, p99",
            figures.median(lambda sample: sample.buyer_p99_seconds),
            1.0,
        ),
    ):
        console.print(f"{what}: {seconds:.2f} s (median); target: less than {target:g} s.")
    for what, share in (
        ("refused", figures.median(lambda s: per_second(s.refused) / per_second(s.quiet))),
        ("held back", figures.median(lambda s: per_second(s.held_back) / per_second(s.quiet))),
    ):
        console.print(f"others' pulls beside a neighbour whose pulls are {what}: {share:.0%}.")


def _cells(sample: NeighbourSample) -> tuple[str, ...]:
    """One round, under the headings behind its number."""
    windows: tuple[WindowResult, ...] = (sample.quiet, sample.refused, sample.held_back)
    return (
        f"{sample.burst_seconds:.2f}",
        str(sample.pending_count),
        str(len(sample.buyer_seconds)),
        f"{sample.buyer_p99_seconds:.2f}",
        *(f"{per_second(window):,.0f}" for window in windows),
        *(f"{window.p99_ms:.0f}" for window in windows),
    )
