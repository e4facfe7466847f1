"""Checks locked versions for known vulnerabilities: `python -m deploy.packages.audit`.

Exits with 1 for a finding, and for a failure of the audit itself. If the vulnerability service
cannot be reached, the audit prints one line and exits with 0.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "dev.txt"
COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"),
    *("--require-hashes", "--disable-pip", "--requirement", str(REQUIREMENTS)),
]
TIMEOUT_SECONDS = 300
_UNREACHABLE = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "Could not connect")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to print, and the exit code."""

    text: str
    exit_code: int


def judge(report: str, complaint: str) -> Verdict:
    """The verdict on pip-audit's JSON report and its standard error."""
    if not report.strip():
        if any(word in complaint for word in _UNREACHABLE):
            return Verdict("Audit: the vulnerability service cannot be reached from here.", 0)
        return Verdict(f"Audit: pip-audit failed.\n{complaint.strip()}", 1)
    packages = json.loads(report)["dependencies"]
    audited = [package for package in packages if "skip_reason" not in package]
    findings = [
        f"{package['name']} {package['version']}: {vulnerability['id']}"
        f" (fixed in {', '.join(vulnerability['fix_versions']) or 'no version'})"
        for package in audited
        for vulnerability in package["vulns"]
    ]
    if findings:
        return Verdict("\n".join(["Audit: known vulnerabilities.", *findings]), 1)
    if not audited:
        return Verdict("Audit: the vulnerability service that answers here knows no package.", 0)
    return Verdict(f"Audit: {len(audited)} of {len(packages)} packages audited, no finding.", 0)


def main() -> int:
    done = subprocess.run(
        COMMAND, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    verdict = judge(done.stdout, done.stderr)
    print(verdict.text)  # noqa: T201
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
