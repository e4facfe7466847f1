"""Every dialogue happens exactly as it is written."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.unit.mesh.txn.dialogue import DIALOGUES, play

FILES = sorted(DIALOGUES.glob("*.txt"))


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_dialogue_goes_as_it_was_written_down(path: Path) -> None:
    text = path.read_text()
    assert play(text) == text


def test_every_dialogue_is_played() -> None:
    assert len(FILES) >= 14
    assert sorted(DIALOGUES.parent.rglob("*.txt")) == FILES
