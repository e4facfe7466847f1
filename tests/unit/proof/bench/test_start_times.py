"""The phases of a start, from what the runner prints."""

import io
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from proof.bench.start_times import BEFORE_THE_FIRST, Line, Phase, StartSample, phases_of
from proof.bench.tables.starts import show, write_json

FOLDER = Path("/var/tmp/mesh")


def test_each_sentence_begins_a_phase() -> None:
    lines = [
        Line("12:00:01 Starting the databases, the cache, in /var/tmp/mesh.", 1.0),
        Line("12:00:04 Waiting: gacha_svc-1 not ready yet.", 4.0),
        Line("12:00:05 Starting the services.", 5.5),
        Line("12:00:09 Everything is healthy.", 9.0),
        Line("12:00:09 Ctrl-C stops it.", 9.01),
        Line("  gateway   http://127.0.0.1:8080", 9.02),
    ]
    assert phases_of(lines, 9.03, FOLDER) == [
        Phase(BEFORE_THE_FIRST, 1.0),
        Phase("Starting the databases, the cache.", 4.5),
        Phase("Starting the services.", 3.5),
    ]


def test_a_runner_that_prints_nothing_has_one_phase() -> None:
    assert phases_of([], 2.0, FOLDER) == [Phase(BEFORE_THE_FIRST, 2.0)]
    assert phases_of([Line("Traceback", 1.0)], 2.0, FOLDER) == [Phase(BEFORE_THE_FIRST, 2.0)]


@given(st.lists(st.floats(0.0, 20.0)).map(sorted), st.floats(0.0, 20.0))
def test_phases_add_up_to_the_start(times: list[float], seconds: float) -> None:
    lines = [Line(f"12:00:00 Step {number}.", at) for number, at in enumerate(times)]
    phases = phases_of(lines, seconds, FOLDER)
    assert sum(phase.seconds for phase in phases) == pytest.approx(seconds)
    assert all(phase.seconds >= 0 for phase in phases)


def test_the_table_has_each_phase_and_the_ratio_of_the_pairs() -> None:
    sides = {
        "present code": [_start(1.0, 5.0), _start(1.0, 7.0)],
        "HEAD~1": [_start(2.0, 10.0), _start(2.0, 6.0)],
    }
    output = io.StringIO()
    show(Console(file=output, width=150), sides)
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in output.getvalue().splitlines()
        if "│" in line
    ]
    assert rows[:4] == [
        [BEFORE_THE_FIRST, "1.00"],
        ["Starting all.", "6.00 (5.00-7.00)"],
        ["until everything is healthy", "7.00 (6.00-8.00)"],
        ["CPU seconds of all processes", "3.50 (3.00-4.00)"],
    ]
    text = output.getvalue()
    assert "A start of the present code: 7.00 (6.00-8.00) s; target: at most 8 s." in text
    expected = "Divided by HEAD~1, in pairs: 0.75 (0.50-1.00); CPU seconds: 0.75 (0.50-1.00)."
    assert expected in text


def test_tools_get_every_start(tmp_path: Path) -> None:
    file = tmp_path / "starts.json"
    write_json(file, {"present code": [_start(1.0, 5.0)]})
    (start,) = orjson.loads(file.read_bytes())["starts"]["present code"]
    assert start["seconds"] == 6.0
    assert start["phases"][1] == {"name": "Starting all.", "seconds": 5.0}


def _start(before: float, after: float) -> StartSample:
    phases = [Phase(BEFORE_THE_FIRST, before), Phase("Starting all.", after)]
    return StartSample(before + after, (before + after) / 2, phases)
