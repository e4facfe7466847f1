"""Runs schemathesis with /openapi.json: valid and invalid requests."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.local.layout import REPOSITORY

HERE = Path(__file__).parent
CHECKS = "proof.fuzz.rest_checks"
ENDING = "/logout-everywhere"
"""It would end the session whose token the requests carry."""


@dataclass(frozen=True, slots=True)
class RestRun:
    """The result of schemathesis: the number of cases, its output, and whether it found nothing."""

    case_count: int
    output: str
    is_well: bool


def fuzz_rest(gateway: str, token: str, folder: Path, *, seconds: int, seed: int) -> RestRun:
    """Calls every operation but ENDING with the player's token, for about `seconds`.

    The report of every case is written to `folder`.
    """
    report = folder / "schemathesis.json"
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--no-color", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    command += [f"{gateway}/openapi.json", "--header", f"Authorization: Bearer {token}"]
    command += [
        "--exclude-path",
        ENDING,
        "--checks",
        "all",
        "--continue-on-failure",
        "--seed",
        str(seed),
    ]
    command += ["--max-time", str(seconds), "--report", "json", "--report-json-path", str(report)]
    ended = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "SCHEMATHESIS_HOOKS": CHECKS},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=4 * seconds + 120,
        check=False,
    )
    output = ended.stdout.decode(errors="replace")
    return RestRun(_cases(report), output, is_well=ended.returncode == 0)


def _cases(report: Path) -> int:
    entry = json.loads(report.read_text())
    return int(entry["test_cases"]["generated"])
