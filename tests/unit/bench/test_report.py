"""What people and tools are shown of a run."""

import io
from pathlib import Path

import orjson
from rich.console import Console

from bench.figures import Figures, Point, Sample
from bench.report import show, write_json
from bench.yardstick import Speed


def _sample(operation_count: int, p50_ms: float, error: str = "") -> Sample:
    return Sample(
        operation_count=operation_count,
        operations_per_second=operation_count / 8,
        p50_ms=p50_ms,
        p99_ms=2 * p50_ms,
        error_count=3 if error else 0,
        first_error=error,
        mesh_cpu_ms_each={"gacha_svc": 1.25, "postgres-gacha": 0.5},
        beside_cpu_ms_each={"load generator": 0.0625},
        elsewhere_cores=0.5,
        transactions_each=10.0,
        wal_flushes_each=5.0,
        wal_bytes_each=2500.0,
    )


def _figures(*pulls: Sample, broken: tuple[str, ...] = ()) -> Figures:
    return Figures(
        machine={"PostgreSQL": "18.6; account: fsync on"},
        speeds=[Speed(100.0, 5.0)],
        pulls=[Point("single pulls", 1, pulls)],
        plain_commits=[Point("two plain commits", 1, [_sample(4000, 2.0)])],
        broken_invariants=broken,
    )


def _shown(figures: Figures) -> str:
    output = io.StringIO()
    show(Console(file=output, width=150), figures)
    return output.getvalue()


def test_a_run_without_faults_shows_its_figures_and_says_that_all_holds() -> None:
    text = _shown(_figures(_sample(800, 7.0), _sample(1600, 5.0), _sample(800, 6.0)))
    for words in ("fsync on", "100 (100-200)", "6.00 (5.00-7.00)", "1.750", "0.062", "2.50"):
        assert words in text
    assert "3.00 times that of two plain commits" in text
    assert "every invariant holds" in text
    assert "ERRORS" not in text


def test_errors_are_loud_and_the_first_is_told() -> None:
    text = _shown(_figures(_sample(800, 7.0, error="503 [away]")))
    assert "3 ERRORS of single pulls over 1; the first: 503 [away]" in text


def test_broken_invariants_are_loud() -> None:
    text = _shown(_figures(_sample(800, 7.0), broken=("a balance is never negative: [u]",)))
    assert "BROKEN INVARIANT a balance is never negative: [u]" in text
    assert "every invariant holds" not in text


def test_what_was_not_measured_is_a_dash_not_a_zero() -> None:
    text = _shown(_figures(_sample(0, 0.0, error="503")))
    row = next(line for line in text.splitlines() if line.startswith("│           1 │"))
    assert [cell.strip() for cell in row.split("│")[2:9]] == ["-"] * 7
    assert "times that of two plain commits" not in text


def test_tools_get_every_sample_and_what_is_derived(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_json(file, _figures(_sample(800, 7.0), _sample(1600, 5.0)))
    document = orjson.loads(file.read_bytes())
    assert document["lone_pull_p50_in_plain_commits"] == 3.0
    assert document["broken_invariants"] == []
    assert document["speeds"] == [{"additions_ms": 100.0, "wake_up_us": 5.0}]
    (point,) = document["pulls"]
    assert point["connections"] == 1
    assert point["operations_per_second"] == {"median": 150.0, "lowest": 100.0, "highest": 200.0}
    assert [sample["p50_ms"] for sample in point["samples"]] == [7.0, 5.0]
    assert point["samples"][0]["cpu_ms_each"] == 1.75
