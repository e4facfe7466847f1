"""The arguments of ghz, and the parsing of its report."""

import json
from typing import Any

from proof.bench.load.ghz import metadata_template, result_of
from proof.bench.load.window import WindowResult

REPORT: dict[str, Any] = {
    "count": 12,
    "total": 2_000_000_000,
    "statusCodeDistribution": {"OK": 10, "Unavailable": 2},
    "errorDistribution": {"rpc error: away": 2},
    "latencyDistribution": [
        {"percentage": 50, "latency": 4_000_000},
        {"percentage": 99, "latency": 9_500_000},
    ],
}


def test_each_worker_has_a_token_of_its_own() -> None:
    metadata = json.loads(metadata_template(["a.b", "c.d"]))
    assert metadata["authorization"] == (
        "Bearer {{if eq .WorkerID `g0c0`}}a.b{{end}}{{if eq .WorkerID `g1c0`}}c.d{{end}}"
    )


def test_a_failed_operation_counts_as_an_error() -> None:
    assert result_of(REPORT) == WindowResult(
        operation_count=10,
        duration_seconds=2.0,
        p50_ms=4.0,
        p99_ms=9.5,
        error_count=2,
        first_error="rpc error: away",
    )


def test_a_report_of_nothing_has_no_latencies() -> None:
    empty = REPORT | {
        "count": 0,
        "statusCodeDistribution": None,
        "errorDistribution": None,
        "latencyDistribution": None,
    }
    result = result_of(empty)
    assert (result.operation_count, result.p50_ms, result.error_count) == (0, 0.0, 0)
