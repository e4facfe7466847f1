"""Pulls as a multiple of two plain commits."""

import io
from collections.abc import Mapping
from dataclasses import replace

from rich.console import Console

from proof.bench.figures import Figures, Sample, Spread
from proof.bench.tables.floor import FloorRow, floor_rows, show_floor
from tests.unit.proof.bench.samples import figures, sample, series


def _sample(pg_ms: float, p50_ms: float, others_ms: float = 0.0) -> Sample:
    cpu_ms = {"postgres-account": pg_ms / 2, "postgres-gacha": pg_ms / 2, "gacha_svc": others_ms}
    return replace(sample(p50_ms=p50_ms), mesh_cpu_ms_each=cpu_ms)


def _run(pulls: Mapping[int, list[Sample]], commits: Mapping[int, list[Sample]]) -> Figures:
    return figures(series("commits", commits), series("pulls", pulls))


def _shown(of: Figures) -> list[list[str]]:
    output = io.StringIO()
    show_floor(Console(file=output, width=150), of)
    lines = output.getvalue().splitlines()
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]


def test_the_multiple_is_of_the_same_round_and_of_postgresql_alone() -> None:
    # The second round is twice as slow. What the mesh does beside the commits does not count.
    of = _run(
        {16: [_sample(0.5, 10.0, 0.5), _sample(1.0, 20.0, 1.0)]},
        {16: [_sample(0.25, 5.0, 9.0), _sample(0.5, 10.0, 9.0)]},
    )
    assert list(floor_rows(of)) == [
        FloorRow(16, 16, cpu=Spread(4.0, 4.0, 4.0), p50=Spread(2.0, 2.0, 2.0))
    ]
    assert _shown(of) == [["16", "1.500", "0.375", "4.00", "15.00", "7.50", "2.00"]]


def test_more_connections_than_a_server_has_room_for_are_compared_in_cpu_alone() -> None:
    of = _run({256: [_sample(0.5, 10.0)]}, {1: [_sample(2.0, 1.0)], 64: [_sample(0.25, 5.0)]})
    assert list(floor_rows(of)) == [FloorRow(256, 64, cpu=Spread(2.0, 2.0, 2.0), p50=None)]
    assert _shown(of) == [["256", "0.500", "0.250 (64 clients)", "2.00", "10.00", "-", "-"]]


def test_without_either_there_is_no_table() -> None:
    some = {16: [_sample(0.5, 10.0)]}
    for of in (_run({}, some), _run(some, {}), _run({1: some[16]}, some), figures()):
        assert list(floor_rows(of)) == []
        assert _shown(of) == []


def test_a_round_in_which_nothing_completed_does_not_count() -> None:
    nothing = replace(_sample(0.0, 0.0), operation_count=0)
    of = _run({1: [nothing]}, {1: [_sample(0.5, 1.0)]})
    assert list(floor_rows(of)) == [FloorRow(1, 1, cpu=None, p50=None)]
    assert _shown(of) == [["1", "-", "0.500", "-", "-", "1.00", "-"]]
