"""A short run of proof.faults, and of five mutants.

`make faults` runs it for any time. This shows in two minutes that nothing is lost in a few
rounds, and that the checks can fail.
"""

from pathlib import Path

import pytest

from proof.faults.campaign import POINTS
from proof.faults.findings import Check
from proof.faults.injection.faults import all_faults
from proof.faults.report import Reporter
from proof.faults.runs import run, run_mutant

SECONDS = 30.0
SEED = 7

CAUGHT_BY = {
    "duplicates_unchecked": Check.REPEATS,
    "account_committed_first": Check.READER,
    "operations_not_kept": Check.SAME_SET,
    "guarantees_not_kept": Check.FAIRNESS,
    "repeats_taken_for_thefts": Check.SESSIONS,
}


def test_every_failpoint_has_a_fault_of_each_kind() -> None:
    names = list(all_faults())
    for point in POINTS:
        actions = {name.split()[-1] for name in names if name.split()[0] == point}
        assert actions == {"crash", "stall", "error", "bug"}


@pytest.mark.timeout(240)
def test_nothing_is_lost_under_faults(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert run(tmp_path, SECONDS, SEED, [], Reporter())


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mutant", CAUGHT_BY)
def test_a_broken_rule_is_noticed(tmp_path: Path, mutant: str) -> None:
    tmp_path.chmod(0o755)
    findings = run_mutant(tmp_path / mutant, mutant, SEED)
    assert CAUGHT_BY[mutant] in findings.counts
