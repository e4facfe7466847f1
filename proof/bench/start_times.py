"""The time that a warm mesh takes to start: its data, secrets and ports exist already.

It is what `make up` takes without its check of the environment, from the runner's start until
everything is healthy. The sentences that the runner prints divide it into phases.
"""

import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from proof.bench.measured_mesh import runner_pid
from proof.bench.meters.idle import cpu_seconds
from proof.stack import Mesh

START = "start"
POLL_SECONDS = 0.02
BEFORE_THE_FIRST = "The runner starts."
_TIMED = re.compile(r"\d\d:\d\d:\d\d (.+)")
_STILL_WAITING = "Waiting: "
_HEALTHY = "Everything is healthy."


@dataclass(frozen=True, slots=True)
class Line:
    """A printed line, and the seconds from the start until it was printed."""

    text: str
    at_seconds: float


@dataclass(frozen=True, slots=True)
class Phase:
    """From one sentence of the runner, which is the name, until the next."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StartSample:
    """One start. The phases add up to `seconds`; `cpu_seconds` are those of all processes."""

    seconds: float
    cpu_seconds: float
    phases: Sequence[Phase]


def measure_start(mesh: Mesh) -> StartSample:
    """Stops the mesh and starts it again. Call it from the main thread. Raises MeshNotUp."""
    mesh.stop()
    is_up = threading.Event()
    offset = mesh.output.stat().st_size
    with ThreadPoolExecutor(1) as readers:
        began_at = time.perf_counter()
        reading = readers.submit(_lines_until, is_up, mesh.output, offset, began_at)
        try:
            mesh.start_again()
            seconds = time.perf_counter() - began_at
            used_seconds = cpu_seconds(mesh.read()["processes"], runner_pid(mesh))
        finally:
            is_up.set()
        phases = phases_of(reading.result(), seconds, mesh.layout.folder)
    return StartSample(sum(phase.seconds for phase in phases), used_seconds, phases)


def phases_of(lines: Sequence[Line], seconds: float, folder: Path) -> list[Phase]:
    """The phases of a start until the runner said that everything is healthy, or for `seconds`
    if it did not. What it says of a wait within a phase begins none. The names are without the
    mesh's `folder`."""
    begun = [Line(BEFORE_THE_FIRST, 0.0)]
    for line in lines:
        timed = _TIMED.fullmatch(line.text)
        if timed and timed[1] == _HEALTHY:
            seconds = min(seconds, line.at_seconds)
        if timed and not timed[1].startswith(_STILL_WAITING) and line.at_seconds < seconds:
            begun.append(Line(timed[1].replace(f", in {folder}", ""), line.at_seconds))
    ends = [*(line.at_seconds for line in begun[1:]), seconds]
    return [Phase(line.text, end - line.at_seconds) for line, end in zip(begun, ends, strict=True)]


def _lines_until(is_up: threading.Event, output: Path, offset: int, began_at: float) -> list[Line]:
    """The lines that are appended to a file until the event is set."""
    lines: list[Line] = []
    with output.open() as file:
        file.seek(offset)
        unfinished = ""
        while not is_up.wait(POLL_SECONDS):
            at_seconds = time.perf_counter() - began_at
            *whole, unfinished = (unfinished + file.read()).split("\n")
            lines += [Line(text, at_seconds) for text in whole]
    return lines
