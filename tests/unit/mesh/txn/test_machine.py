"""The invariants hold after any sequence of events, and the machine finds every mutant."""

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.mesh.txn.dialogue import DIALOGUES, play
from tests.unit.mesh.txn.invariants import Violation
from tests.unit.mesh.txn.machine import ProtocolMachine
from tests.unit.mesh.txn.mutants import MUTANTS, Mutant

SETTINGS = settings(
    max_examples=400,
    stateful_step_count=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
UNSHRUNK = settings(
    SETTINGS, max_examples=1500, phases=[Phase.generate], report_multiple_bugs=False
)
"""For mutants: to find a violation is enough, and to make it small would take long."""


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Switches off the logs, which would have thousands of lost branches."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


def test_the_protocol_holds_for_any_events_in_any_order() -> None:
    run_state_machine_as_test(ProtocolMachine, settings=SETTINGS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_protocol_with_a_rule_broken_is_found_out(mutant: Mutant) -> None:
    with pytest.raises(Violation):
        _play(mutant)


def _play(mutant: Mutant) -> None:
    if mutant.dialogue:
        text = (DIALOGUES / f"{mutant.dialogue}.txt").read_text()
        play(text, [mutant.name], mutant.coordinator_class)
    else:
        run_state_machine_as_test(mutant.machine(), settings=UNSHRUNK)
