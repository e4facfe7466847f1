"""The output of a run, for people and for tools."""

import io
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from proof.bench.figures import Figures, Sample
from proof.bench.meters.batches import BatchSizes
from proof.bench.tables.report import show, write_json
from proof.bench.tables.series import CALLS_OF_GATEWAYS
from tests.unit.proof.bench.samples import figures, idle_sample, sample, series


def _run(*pulls: Sample, broken: tuple[str, ...] = ()) -> Figures:
    commits = series("commits", {1: [sample(4000, 2.0)] * len(pulls)})
    return figures(series("pulls", {1: list(pulls)}), commits, broken=broken)


def _shown(of: Figures) -> str:
    output = io.StringIO()
    show(Console(file=output, width=150), of)
    return output.getvalue()


def test_a_run_without_faults_shows_its_figures_and_says_that_all_holds() -> None:
    text = _shown(_run(sample(800, 7.0), sample(1600, 5.0), sample(800, 6.0)))
    for words in ("fsync on", "100 (100-200)", "6.00 (5.00-7.00)", "1.750", "0.062", "2.50"):
        assert words in text
    assert "6.00 / 2.00 = 3.00" in text
    assert "every invariant holds" in text
    assert "ERRORS" not in text


def test_cpu_is_shown_without_and_with_the_load_generator() -> None:
    lines = _shown(_run(sample())).splitlines()
    for words, cpu_ms in (("the mesh", "1.750"), ("with the load generator", "1.812")):
        assert any(words in line and cpu_ms in line for line in lines), words


def test_batch_sizes_are_a_mean_and_the_bounds_of_buckets() -> None:
    lines = _shown(_run(sample(), sample())).splitlines()
    row = next(line for line in lines if "operations in a transaction" in line)
    assert "12.5 (16, 16)" in row


@pytest.mark.parametrize(("calls", "expected"), [(0, "0.000"), (4, "0.005"), (1600, "2.000")])
def test_answers_from_memory_are_told_from_calls(calls: int, expected: str) -> None:
    counted = BatchSizes(batch_count=calls, total=calls)
    of_reads = replace(sample(800), batches={CALLS_OF_GATEWAYS: counted})
    lines = _shown(_run(of_reads)).splitlines()
    row = next(line for line in lines if "calls of the gateway for each" in line)
    assert expected in row


def test_errors_are_loud_and_the_first_is_reported() -> None:
    text = _shown(_run(sample(800, 7.0, error="503 [away]")))
    assert "3 ERRORS of pulls through REST, 1 connection; the first: 503 [away]" in text


def test_the_mesh_without_load_is_shown_by_part_and_as_a_whole() -> None:
    lines = _shown(figures(idle=[idle_sample(0.02, 100), idle_sample(0.04, 104)])).splitlines()
    cells = {
        row[0]: row[1:]
        for line in lines
        if len(row := [cell.strip() for cell in line.split("│")[1:-1]]) == 5
    }
    assert cells == {
        "gacha_svc": ["3.00 (2.00-4.00)", "12.5", "102 (100-104)", "2"],
        "cache": ["0.10", "10.0", "8", "1"],
        "the mesh": ["3.10 (2.10-4.10)", "22.5", "110 (108-112)", "3"],
    }


def test_broken_invariants_are_loud() -> None:
    text = _shown(_run(sample(), broken=("a balance is never negative: [u]",)))
    assert "BROKEN INVARIANT a balance is never negative: [u]" in text
    assert "every invariant holds" not in text


def test_skipped_measurements_are_reported() -> None:
    text = _shown(figures(left_out=("ghz, which is not installed",)))
    assert "Left out: ghz, which is not installed" in text


def test_a_missing_measurement_is_a_dash_not_a_zero() -> None:
    text = _shown(_run(sample(0, 0.0, error="503")))
    row = next(line for line in text.splitlines() if line.startswith("│           1 │"))
    assert [cell.strip() for cell in row.split("│")[2:9]] == ["-"] * 7
    assert "median ms" not in text


def test_tools_get_every_sample_and_derived_values(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    write_json(file, replace(_run(sample(800, 7.0), sample(1600, 5.0)), idle=[idle_sample()]))
    document = orjson.loads(file.read_bytes())
    assert document["idle"][0]["the mesh"] == {
        "core_share": 0.011,
        "wake_ups_per_second": 22.5,
        "pss_bytes": 108 << 20,
        "process_count": 3,
    }
    (floor,) = document["pulls_in_plain_commits"]
    assert (floor["connection_count"], floor["client_count"]) == (1, 1)
    assert floor["cpu"] == {"median": 3.5, "lowest": 3.5, "highest": 3.5}
    assert floor["p50"] == {"median": 3.0, "lowest": 2.5, "highest": 3.5}
    assert document["lone_pull_p50_in_plain_commits"] == 3.0
    assert document["targets"][-1]["ratio"] == 3.0 / 2.5
    assert document["broken_invariants"] == []
    assert document["speeds"] == [{"additions_ms": 100.0, "wake_up_us": 5.0}]
    (point,) = document["series"]["pulls"]
    assert point["connections"] == 1
    assert point["operations_per_second"] == {"median": 150.0, "lowest": 100.0, "highest": 200.0}
    assert [each["p50_ms"] for each in point["samples"]] == [7.0, 5.0]
    assert point["samples"][0]["cpu_ms_each"] == 1.75
    (batches,) = point["samples"][0]["batches"].values()
    assert batches == {"batch_count": 4, "total": 50, "at_most": {"8.0": 1, "16.0": 4}}
