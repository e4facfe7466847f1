"""The tables of two revisions."""

import io
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from proof.bench.against.alternation import PairedFigures
from proof.bench.figures import Sample
from proof.bench.tables.against import show, write_json
from tests.unit.proof.bench.samples import figures, idle_sample, sample, series


def _paired(
    ours: list[Sample], theirs: list[Sample], broken: tuple[str, ...] = ()
) -> PairedFigures:
    return PairedFigures(
        "HEAD~1",
        "0123456789abcdef",
        figures(series("pulls", {16: ours})),
        figures(series("pulls", {16: theirs}), broken=broken),
    )


def _row(of: PairedFigures, figure: str) -> list[str]:
    lines = _shown(of).splitlines()
    row = next(line for line in lines if f"│ {figure} " in line)
    return [cell.strip() for cell in row.split("│")[1:-1]]


def _shown(of: PairedFigures) -> str:
    output = io.StringIO()
    show(Console(file=output, width=150), of)
    return output.getvalue()


def test_both_medians_stand_beside_the_ratio_of_the_pairs() -> None:
    of = _paired([sample(800, 3.0), sample(800, 8.0)], [sample(400, 2.0), sample(1600, 4.0)])
    assert _row(of, "p50 ms") == [
        *("16", "p50 ms"),
        *("3.00 (2.00-4.00)", "5.50 (3.00-8.00)", "1.75 (1.50-2.00)"),
    ]
    assert _row(of, "a second")[2:] == ["125 (50-200)", "100", "1.25 (0.50-2.00)"]
    assert _row(of, "of it PostgreSQL")[2:] == ["0.500", "0.500", "1.00"]


def test_what_did_not_complete_is_a_dash() -> None:
    assert _row(_paired([sample(0, 0.0, "503")], [sample()]), "p50 ms")[2:] == ["4.00", "-", "-"]


def test_the_faults_of_each_side_are_under_its_name() -> None:
    of = _paired([sample()], [sample(error="503 [away]")], broken=("a balance is negative",))
    ours, theirs = _shown(of).split("\npresent code\n")[1].split("\nHEAD~1\n")
    assert ours.strip() == "Afterwards every invariant holds over all data of both databases."
    assert "3 ERRORS of pulls through REST, 16 connections; the first: 503 [away]" in theirs
    assert "BROKEN INVARIANT a balance is negative" in theirs
    assert of.has_faults
    assert not _paired([sample()], [sample()]).has_faults


@pytest.mark.parametrize("is_ours", [True, False])
def test_an_error_of_either_side_is_a_fault(is_ours: bool) -> None:
    sides = [sample(error="503")], [sample()]
    assert _paired(*(sides if is_ours else sides[::-1])).has_faults


def test_tools_get_both_runs_and_the_ratios(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_json(file, _paired([sample(p50_ms=3.0)], [sample(p50_ms=2.0)]))
    document = orjson.loads(file.read_bytes())
    (point,) = document["ratios"]["pulls"]
    assert point["connections"] == 16
    assert point["p50 ms"] == {"median": 1.5, "lowest": 1.5, "highest": 1.5}
    assert document["commit"] == "0123456789abcdef"
    assert document["theirs"]["series"]["pulls"][0]["samples"][0]["p50_ms"] == 2.0


def test_meshes_without_load_are_compared_by_part() -> None:
    of = PairedFigures(
        "HEAD~1",
        "0123456789abcdef",
        figures(idle=[idle_sample(0.01, 50), idle_sample(0.02, 50)]),
        figures(idle=[idle_sample(0.02, 100), idle_sample(0.02, 100)]),
    )
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in _shown(of).splitlines()
        if "│ gacha_svc │" in line
    ]
    assert rows == [
        ["gacha_svc", "% of a core", "2.00", "1.50 (1.00-2.00)", "0.75 (0.50-1.00)"],
        ["gacha_svc", "wake-ups a second", "12.50", "12.50", "1.00"],
        ["gacha_svc", "PSS MiB", "100.00", "50.00", "0.50"],
        ["gacha_svc", "processes", "2.00", "2.00", "1.00"],
    ]
