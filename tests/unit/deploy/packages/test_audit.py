"""The audit fails on a finding, and distinguishes "safe" from "service not reachable"."""

import json

import pytest

from deploy.packages.audit import judge

SAFE = {"name": "orjson", "version": "3.11.0", "vulns": []}
UNSAFE = {
    "name": "aiohttp",
    "version": "3.13.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["3.13.3"]}],
}
SKIPPED = {"name": "redis", "skip_reason": "not found"}


def report(*packages: object) -> str:
    return json.dumps({"dependencies": packages})


@pytest.mark.parametrize(
    ("written", "complaint", "exit_code", "text"),
    [
        (report(SAFE), "", 0, "1 of 1 packages audited, no finding"),
        (report(SAFE, SKIPPED), "", 0, "1 of 2 packages audited, no finding"),
        (report(SAFE, UNSAFE), "found 1", 1, "aiohttp 3.13.0: PYSEC-2026-1 (fixed in 3.13.3)"),
        (report(SKIPPED), "", 0, "knows no package"),
        ("", "requests.exceptions.ConnectionError: no route", 0, "cannot be reached"),
        ("", "ValueError: no hash for orjson", 1, "ValueError: no hash for orjson"),
    ],
    ids=["safe", "partly skipped", "finding", "all skipped", "unreachable", "own fault"],
)
def test_verdict_follows_the_report(
    written: str, complaint: str, exit_code: int, text: str
) -> None:
    verdict = judge(written, complaint)
    assert verdict.exit_code == exit_code
    assert text in verdict.text
