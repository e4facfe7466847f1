"""Tables of the effect of a flood of logins on pulls."""

from functools import partial

from rich.console import Console
from rich.table import Table

from proof.bench.flood import PULLS_PER_SECOND, REFUSED, SERVED, FloodFigures, FloodSample
from proof.bench.load.open_loop import OpenLoopResult

HEADINGS = (
    "round",
    "quiet p50 ms",
    "quiet p99 ms",
    "flooded p50 ms",
    "flooded p99 ms",
    "p99, times quiet",
    "logins sent/s",
    "served/s",
    "refused/s",
    "other",
)


def show(console: Console, figures: FloodFigures) -> None:
    """The tables of a whole run."""
    console.print(
        f"Logins that were served to callers who wait their turn: {figures.capacity:.0f} a second."
    )
    table = Table(title=f"{PULLS_PER_SECOND:.0f} pulls a second, quiet and under a flood of logins")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for number, sample in enumerate(figures.samples, 1):
        table.add_row(str(number), *_cells(sample))
    console.print(table)
    cores = Table(title="Cores kept busy under the flood, median of the rounds")
    cores.add_column("part")
    cores.add_column("cores", justify="right")
    for part in figures.samples[0].cores:
        cores.add_row(part, f"{figures.median(partial(_cores_of, part)):.2f}")
    console.print(cores)
    console.print(
        f"Pulls' p99 under the flood, as a multiple of the quiet one: "
        f"{figures.median(lambda sample: sample.times_quiet):.2f} (median); target: at most 2."
    )


def _cells(sample: FloodSample) -> tuple[str, ...]:
    """One round, under the headings behind its number."""
    flood = sample.flood
    seconds = flood.duration_seconds
    sent_count = flood.offered_count - flood.unsent_count
    return (
        f"{sample.quiet.p50_ms:.2f}",
        f"{sample.quiet.p99_ms:.2f}",
        f"{sample.flooded.p50_ms:.2f}",
        f"{sample.flooded.p99_ms:.2f}",
        f"{sample.times_quiet:.2f}",
        f"{sent_count / seconds:.0f}",
        f"{flood.answer_counts.get(SERVED, 0) / seconds:.1f}",
        f"{flood.answer_counts.get(REFUSED, 0) / seconds:.0f}",
        _described(flood, SERVED, REFUSED),
    )


def _cores_of(part: str, sample: FloodSample) -> float:
    return sample.cores.get(part, 0.0)


def _described(result: OpenLoopResult, *expected: int) -> str:
    """How often each other status came, and how often none."""
    counts = {str(s): n for s, n in sorted(result.answer_counts.items()) if s not in expected}
    counts |= {"lost": result.lost_count} if result.lost_count else {}
    return ", ".join(f"{count} of {status}" for status, count in counts.items()) or "none"
