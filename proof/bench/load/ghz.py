"""The same pulls by ghz, a common load generator, directly at one gacha_svc.

It uses plain unary gRPC without the gateway and without lanes, so it measures the service with
clients that do not batch. Each of ghz's workers has its own player. ghz's metadata is a template
that selects the worker's token. ghz parses the template for every call, which is a large part
of its own CPU time.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.layout import REPOSITORY
from deploy.local.parent_bound import bound_to_parent
from mesh.tls.material import TlsFiles
from proof.bench.errors import BenchFailed
from proof.bench.load.window import WindowResult

METHOD = "gacha.v1.GachaService.Pull"
REQUEST = {"banner_id": "standard"}
INSTALL = "GOBIN=$PWD/.tools/bin go install github.com/bojand/ghz/cmd/ghz@latest"
EXTRA_SECONDS = 60.0
CONNECTION_COUNT = 1
"""The name of a ghz worker contains the number of its connection."""


@dataclass(frozen=True, slots=True)
class GhzRun:
    """ghz's report, and the CPU seconds that it used."""

    result: WindowResult
    cpu_seconds: float


def find_ghz(repository: Path = REPOSITORY) -> str | None:
    """ghz's path, on PATH or among the repository's tools."""
    places = [os.environ.get("PATH", os.defpath), str(repository / ".tools" / "bin")]
    return shutil.which("ghz", path=os.pathsep.join(places))


def metadata_template(tokens: Sequence[str]) -> str:
    """Metadata with one token for each worker, g0c0, g1c0 and so on."""
    # Raw strings, because ghz first parses this as JSON; and a bare action, because ghz treats
    # metadata without one as constant for all calls.
    choices = "".join(
        f"{{{{if eq .WorkerID `g{number}c0`}}}}{token}{{{{end}}}}"
        for number, token in enumerate(tokens)
    )
    return json.dumps({"authorization": f"Bearer {choices}", "x-request-id": "{{.UUID}}"})


def run_ghz(
    program: str, address: str, tokens: Sequence[str], seconds: float, files: TlsFiles | None
) -> GhzRun:
    """Runs one worker for each token, for `seconds`. Raises BenchFailed."""
    with tempfile.TemporaryDirectory(prefix="gacha-mesh-bench-") as folder:
        metadata = Path(folder) / "metadata.json"
        metadata.touch(mode=0o600)
        metadata.write_text(metadata_template(tokens))
        command = [program, *_transport(files), "--call", METHOD, "--data", json.dumps(REQUEST)]
        command += ["--metadata-file", str(metadata), "--concurrency", str(len(tokens))]
        command += ["--connections", str(CONNECTION_COUNT), "--duration", f"{seconds:g}s"]
        command += ["--duration-stop", "wait", "--format", "json", address]
        before = _child_cpu_seconds()
        said = _run(command, seconds + EXTRA_SECONDS)
        return GhzRun(result_of(json.loads(said)), _child_cpu_seconds() - before)


def _transport(files: TlsFiles | None) -> list[str]:
    if files is None:
        return ["--insecure"]
    return [f"--cacert={files.ca}", f"--cert={files.certificate}", f"--key={files.key}"]


def result_of(report: dict[str, Any]) -> WindowResult:
    """ghz's report as a window; latencies are of calls that succeeded, in nanoseconds."""
    statuses: dict[str, int] = report.get("statusCodeDistribution") or {}
    errors: dict[str, int] = report.get("errorDistribution") or {}
    latencies = {
        each["percentage"]: each["latency"] / 1e6 for each in report["latencyDistribution"] or []
    }
    ok_count = statuses.get("OK", 0)
    return WindowResult(
        operation_count=ok_count,
        duration_seconds=report["total"] / 1e9,
        p50_ms=latencies.get(50, 0.0),
        p99_ms=latencies.get(99, 0.0),
        error_count=report["count"] - ok_count,
        first_error=next(iter(errors), ""),
    )


def _run(command: Sequence[str], timeout_seconds: float) -> bytes:
    try:
        done = subprocess.run(
            bound_to_parent(list(command)), capture_output=True, timeout=timeout_seconds, check=True
        )
    except subprocess.CalledProcessError as error:
        raise BenchFailed(f"ghz failed: {error.stderr.decode(errors='replace')}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchFailed(f"ghz did not end within {timeout_seconds:g} s.") from error
    return done.stdout


def _child_cpu_seconds() -> float:
    """CPU seconds of finished child processes."""
    times = os.times()
    return times.children_user + times.children_system
