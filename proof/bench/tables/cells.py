"""The cells of tables: medians, ranges and ratios."""

from collections.abc import Callable

from proof.bench.figures import Point, Sample, Spread

NOTHING = "-"
MIB = float(2**20)


def median_cell(point: Point, figure: Callable[[Sample], float], digits: int) -> str:
    """A dash where nothing was completed, and so nothing was measured."""
    if not any(sample.operation_count for sample in point.samples):
        return NOTHING
    return f"{point.median(figure):,.{digits}f}"


def range_cell(point: Point, figure: Callable[[Sample], float], digits: int) -> str:
    """The median, and the lowest and the highest where there are several."""
    middle = median_cell(point, figure, digits)
    if len(point.samples) == 1 or middle == NOTHING:
        return middle
    return spread_cell(point.spread(figure), digits)


def spread_cell(spread: Spread | None, digits: int = 2) -> str:
    """The median with the lowest and the highest; a dash for none."""
    if spread is None:
        return NOTHING
    middle = f"{spread.median:,.{digits}f}"
    if spread.lowest == spread.highest:
        return middle
    return f"{middle} [dim]({spread.lowest:,.{digits}f}-{spread.highest:,.{digits}f})[/dim]"
